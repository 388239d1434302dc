"""What an mpirun is told of the nodes that its ranks run on."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from balsam import states
from balsam.core.lease import RUN_COLUMNS
from balsam.errors import ProgramMissing
from balsam.launcher.node_pool import Placement
from balsam.launcher.preparing import Ground, Preparer
from balsam.launcher.tasks import Application, Mpi, Task, from_row
from balsam.platform.flavours import FLAVOURS

MPI = Mpi("/opt/mpirun", FLAVOURS["openmpi5"])
TWO_CORES = ((0, 2), (1, 3))


def task(ranks: int = 1, affinity: str = "depth", **given: str) -> Task:
    row = {
        **dict.fromkeys(RUN_COLUMNS, ""), "id": 1, "job_id": uuid.UUID(int=7).hex,
        "state": states.PREPROCESSED, "attempt": 0, "lost_attempts": 0, "app_id": None,
        "environ_vars": "{}", "num_nodes": 1, "ranks_per_node": ranks, "threads_per_rank": 1,
        "threads_per_core": 1, "node_packing_count": 1, "gpus_per_rank": 0.0,
        "wall_time_minutes": 1, "time_limit_minutes": 0.0, "launch_params": "{}",
        "cpu_affinity": affinity, "signal_before_min": 0.0, **given,
    }  # fmt: skip
    return from_row([row[name] for name in RUN_COLUMNS])


@pytest.mark.parametrize(
    ("ranks", "affinity", "core_ids", "bound"),
    [
        (2, "depth", (), "depth"),
        (4, "depth", (), "none"),
        (4, "core", (), "none"),
        (4, "numa", (), "numa"),
        (4, "depth", (1,), "list"),
    ],
)
def test_more_ranks_than_cores_are_not_bound_to_any(
    tmp_path: Path, ranks: int, affinity: str, core_ids: tuple[int, ...], bound: str
) -> None:
    preparer = Preparer(tmp_path, {}, ground=Ground(frozenset({"n1"}), TWO_CORES))
    launch = preparer.launch(task(ranks, affinity), Placement(("n1",), 2.0, (), core_ids), MPI)
    assert (launch.bound, launch.hosts, launch.lanes) == (bound, (), 2)


@pytest.mark.parametrize(
    ("node", "core_ids", "alike", "bound"),
    [
        ("n1", (1,), False, "list"),
        ("n2", (1,), True, "list"),
        ("n2", (1,), False, "none"),
        ("n2", (), False, "core"),
    ],
)
def test_cpus_of_a_node_that_has_other_numbers_are_not_listed(
    tmp_path: Path, node: str, core_ids: tuple[int, ...], alike: bool, bound: str
) -> None:
    preparer = Preparer(tmp_path, {}, ground=Ground(frozenset({"n1"}), TWO_CORES, alike))
    launch = preparer.launch(task(2, "core"), Placement((node,), 1.0, (), core_ids), MPI)
    assert (launch.bound, bool(launch.rank_cpus)) == (bound, bound == "list")


@pytest.mark.parametrize("command", ["", " "])
def test_the_arguments_of_a_job_without_a_command_are_not_run(tmp_path: Path, command: str) -> None:
    """They once were: 'touch' was the program of such a job."""
    job = task(args="touch danger", direct_command=command)
    with pytest.raises(ProgramMissing, match="The job has no command"):
        Preparer(tmp_path, {"PATH": "/usr/bin:/bin"}).draft(job, Application())
