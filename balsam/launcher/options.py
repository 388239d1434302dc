"""What a launcher is asked to do, and what it tells while it does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from balsam.errors import InvalidValue

AUTO = "auto"
MPI = "mpi"
SERIAL = "serial"


@dataclass(frozen=True)
class LauncherOptions:
    """The launcher's flags; None and 0 leave a number to the settings or the machine.

    ``wf_filter`` is a workflow's name or a glob, '' for all; ``job_mode`` is ``auto`` (each job the
    way it needs), ``mpi`` (everything through mpirun) or ``serial`` (single-rank jobs only).
    ``tags`` are names and values that a job's tags must contain. It uses at most ``limit_nodes``
    nodes (None = all) after the first ``offset_nodes`` of its allocation. ``machine`` is a name or
    the path of a machine file, '' for the one in the settings. With ``in_partition`` another
    launcher began it as one of several parts; that passes on what asks it to stop. So many nodes
    have those parts together that are not serial, and ``serial_parts`` is the number of the others.
    """

    wf_filter: str = ""
    job_mode: str = AUTO
    time_limit_minutes: float = 0.0
    num_transition_threads: int | None = None
    gpus_per_node: int | None = None
    max_ranks_per_node: int | None = None
    persistent: bool = False
    tags: tuple[tuple[str, str], ...] = ()
    limit_nodes: int | None = None
    offset_nodes: int = 0
    machine: str = ""
    in_partition: int | None = None
    serial_parts: int = 0

    def __post_init__(self) -> None:
        if self.job_mode not in (AUTO, MPI, SERIAL):
            raise InvalidValue(f"The job mode is mpi or serial, not '{self.job_mode}'.")
        for name in (
            "time_limit_minutes",
            "num_transition_threads",
            "gpus_per_node",
            "offset_nodes",
        ):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise InvalidValue(f"{name} is not negative, but {value} was given.")
        if self.limit_nodes is not None and self.limit_nodes < 1:
            raise InvalidValue(f"limit_nodes is at least 1, but {self.limit_nodes} was given.")


def tag_of(text: str) -> tuple[str, str]:
    """The name and value of ``NAME=VALUE``. Raises InvalidValue."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise InvalidValue(f"A tag to run jobs by is NAME=VALUE, not '{text}'.")
    return name.strip(), value


@dataclass(frozen=True)
class Snapshot:
    """How a launcher is doing. Counts are of all jobs in its scope; times are seconds.

    ``rate_per_s`` is of jobs that ended lately; ``seconds_left`` is what is left of the time limit.
    ``newly_failed`` jobs failed since the launcher began.
    """

    running: int
    done: int
    failed: int
    waiting: int
    rate_per_s: float
    seconds_left: float | None
    elapsed: float
    final: bool = False
    notice: str = ""
    killed: int = 0
    newly_failed: int = 0


Report = Callable[[Snapshot], None]


def silent(snapshot: Snapshot) -> None:
    """A report that tells nobody."""
