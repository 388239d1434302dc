"""Evaluations as Balsam jobs: how they are described, read, and given up."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from balsam.launcher import dag

#: The box: powers of ten of the learning rate, and the momentum.
BOX = [(-4.0, 0.0), (0.0, 0.9)]
#: An evaluation is given up when, after some epochs, its cost is so many times another's.
PATIENCE_EPOCHS = 5
HOPELESS = 2.0

EVALUATE = Path(__file__).resolve().parent / "evaluate.py"


def spawn(number: int, x: list[float], epochs: int) -> Any:
    """Add an evaluation of the point ``x``; it starts while the driver goes on."""
    exponent, momentum = x
    child = dag.spawn_child(
        name=f"evaluation{number}",
        direct_command=f"{shlex.quote(sys.executable)} {shlex.quote(str(EVALUATE))}",
        application_args=f"--rate {10**exponent} --momentum {momentum}",
        environ_vars=f"EPOCHS={epochs}",
        data={"x": x},
        input_files="",
        wall_time_minutes=2,
        node_packing_count=4,
        wait_for_parents=False,
    )
    print(f"added {child.cute_id} at {x}", flush=True)
    return child


def cost(job: Any) -> float:
    """What a finished evaluation found."""
    return float(json.loads(job.read_file_in_workdir("result.json"))["cost"])


def curve(job: Any) -> list[float]:
    """The cost after each epoch so far."""
    file = Path(job.working_directory) / "curve.txt"
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [float(line) for line in lines if line.endswith("\n")]


def hopeless(running: Iterable[Any], best: list[float]) -> list[Any]:
    """The running evaluations that lie far behind another one, or behind the best one's curve."""
    curves = [(job, curve(job)) for job in running]
    given_up = []
    for job, mine in curves:
        epoch = len(mine) - 1
        if epoch >= PATIENCE_EPOCHS:
            rivals = [best, *(costs for _, costs in curves)]
            lowest = min(costs[epoch] for costs in rivals if len(costs) > epoch)
            if mine[epoch] > HOPELESS * lowest:
                given_up.append(job)
    return given_up
