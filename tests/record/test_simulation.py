"""A launcher on a simulated allocation of 128 nodes: nothing is lost, no node idle, nobody starves.

How fast that is, the benchmark tells (``python -m tests.benchmarks.simulation``).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

import balsam
from balsam import states
from balsam.conf.project import Project
from balsam.core.care import fsck
from balsam.core.models import BalsamJob, EventLog
from tests.benchmarks.simulation.case import Allocation
from tests.benchmarks.simulation.stage import set_stage
from tests.benchmarks.simulation.waits import longest_wait
from tests.benchmarks.simulation.workload import Workload

ROOT = Path(balsam.__file__).parent.parent
NODES = 128
#: Nobody measures real time here, but a test that hangs must end.
LIMIT_SECONDS = 120

Simulate = Callable[[Workload], dict[str, Any]]


@pytest.fixture
def simulate(project: Project) -> Simulate:
    """Run a launcher for some jobs on the simulated nodes; what came of it."""

    def simulate(workload: Workload) -> dict[str, Any]:
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        allocation = Allocation(NODES)
        set_stage(project.path, environ, allocation)
        module(environ, "workload", workload.dump())
        found: dict[str, Any] = json.loads(module(environ, "case", json.dumps(asdict(allocation))))
        return found

    return simulate


def module(environ: dict[str, str], name: str, given: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", f"tests.benchmarks.simulation.{name}", given],
        env=environ, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def execute(statement: str) -> Any:
    cursor = connection.cursor()
    cursor.execute(statement)
    return cursor


def test_nothing_is_lost_and_every_node_used(project: Project, simulate: Simulate) -> None:
    workload = Workload(number=256, seconds=12.0)
    found = simulate(workload)
    assert found["code"] == 0
    assert found["use"]["nodes_used"] == NODES
    assert BalsamJob.objects.filter(state=states.JOB_FINISHED).count() == workload.number
    # Each ran once, and for as long as it should have by the nodes' clock.
    ends = EventLog.objects.filter(to_state=states.RUN_DONE)
    assert sorted(round(end.data["wall_seconds"], 3) for end in ends) == sorted(workload.lengths())
    assert fsck.check_project(project).sound


def test_a_wide_job_gets_its_nodes_among_narrow_ones(project: Project, simulate: Simulate) -> None:
    workload = Workload(number=300, seconds=12.0, wide=2, widths=(NODES, NODES // 2))
    simulate(workload)
    assert BalsamJob.objects.filter(state=states.JOB_FINISHED).count() == workload.number
    wide = EventLog.objects.filter(to_state=states.RUN_DONE, job__num_nodes__gt=1)
    assert [len(end.data["nodes"]) for end in wide.order_by("job_id")] == [NODES, NODES // 2]
    # Nodes that it waits for are free after the longest task, if nothing new is started there.
    assert longest_wait(execute) < 2 * max(workload.lengths())
    assert fsck.check_project(project).sound
