"""What a launcher says to those who run tasks on other nodes, and what it hears from them.

An attempt is named by a token, ``job:attempt``. The events of one token come in order, and its
last one exactly once: Ended, Refused, or NodeLost with the token among its ``tokens``. Mislaid and
Struck are about attempts that are not theirs: the ranks of an mpirun.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from balsam.platform.process import Exit, RunSpec

#: The variable by which the processes of one attempt are found again.
RUN_MARK = "BALSAM_RUN"


@dataclass(frozen=True)
class Started:
    """The process of an attempt exists; ``time``: seconds since the epoch, by its node's clock."""

    token: str
    pid: int
    time: float


@dataclass(frozen=True)
class Ended:
    """How an attempt ended, as measured on its node.

    ``oom``: the kernel's counters on the node show an out-of-memory kill that may be this one.
    ``tail``: the last lines of its output, empty after exit code 0.
    ``wall_seconds``: from its start to its end, by a clock that nobody sets.
    ``stopped``: not empty if a stop reached it while it ran; a cause of ``states`` if that was no
    wish of the launcher's: the scheduler ended all that ran there, or the launcher was silent.
    Without it, the attempt ended by itself, whatever was asked for in the meantime.
    ``note``: what was wrong with the CPUs it could use, as a sentence.
    """

    token: str
    end: Exit
    wall_seconds: float
    oom: bool = False
    tail: str = ""
    stopped: str = ""
    note: str = ""


@dataclass(frozen=True)
class Refused:
    """An attempt that could not begin, with its cause of ``states`` and a sentence.

    An empty cause says that it was withdrawn: stopped before it began. It was no attempt. With
    ``shortage`` the node lacked processes, memory or descriptors, with ``full`` there was no space
    for its output: it may work later.
    """

    token: str
    cause: str
    message: str
    shortage: bool = False
    full: bool = False


@dataclass(frozen=True)
class NodeLost:
    """A node lost all its attempts, those that had not begun too. None of them runs any more.

    ``gone``: the node is out for good. Else only what ran on it was lost, and it is in
    ``ready_nodes``, or will be. ``silent``: it was heard no more while what reaches it went on;
    else it may be the workers there that have ended.
    """

    node: str
    why: str
    tokens: tuple[str, ...]
    gone: bool = True
    silent: bool = False


@dataclass(frozen=True)
class Confinement:
    """What the ``ranks`` that an mpirun has on a node are to keep to.

    ``mark``: their ``RUN_MARK``. ``variable``: what each has in its environment, told from the
    others by its value, and no process that starts ranks. ``cpus`` are all that they may use, in
    the node's own numbers; none, where they have the node to themselves. Between them they were
    told to use so many of ``different`` CPUs.
    """

    mark: str
    variable: str
    ranks: int
    cpus: tuple[int, ...]
    different: int


@dataclass(frozen=True)
class Mislaid:
    """Ranks of an attempt may use other CPUs than they were given; as a sentence."""

    token: str
    note: str


@dataclass(frozen=True)
class Struck:
    """Whether the counters of a node show an out-of-memory kill that may be of an attempt."""

    token: str
    node: str
    oom: bool


Event = Started | Ended | Refused | NodeLost | Mislaid | Struck


class Hands(Protocol):
    """Starts and watches serial attempts on nodes, and looks after the ranks of mpiruns there.

    Nothing here blocks but ``close``.
    """

    @property
    def ready_nodes(self) -> frozenset[str]:
        """The nodes that have reported in, answer, and can be given tasks now."""
        ...

    @property
    def launches(self) -> int:
        """How many mpiruns it has started to reach the nodes, whatever became of them."""
        ...

    @property
    def deadline(self) -> float | None:
        """When (monotonic) to call ``poll`` at the latest; None if there is nothing to wait for."""
        ...

    def fds(self) -> list[int]:
        """When one of these is readable, ``poll`` has something to say. May change at each poll."""
        ...

    def start(self, token: str, node: str, spec: RunSpec, after: str = "") -> None:
        """Start an attempt, now, or when the attempt ``after`` on the same node has ended."""
        ...

    def signal(self, token: str, number: int) -> None:
        """Send a signal to the process group of an attempt; nothing happens if it does not run."""
        ...

    def stop(self, token: str, grace_seconds: float) -> None:
        """TERM the group of an attempt, KILL all that it started after the grace.

        One that has not begun is withdrawn. Asked again, the earlier KILL counts.
        """
        ...

    def withdraw(self, token: str) -> None:
        """Have an attempt not begin, if it has not begun yet: it is Refused then."""
        ...

    def kill_all(self) -> None:
        """KILL everything, and withdraw the rest."""
        ...

    def check(self, token: str, nodes: Sequence[str], confinement: Confinement) -> None:
        """See where the ranks of an attempt run on its nodes: Mislaid if not as meant.

        It comes while the attempt runs, if at all, and perhaps from each node.
        """
        ...

    def ask_memory(
        self, token: str, nodes: Sequence[str], seconds: float, ranks: int
    ) -> frozenset[str]:
        """Whether the kernel killed something lately for want of memory that may be of an attempt.

        It took so many ``seconds`` until now, and had so many ``ranks`` on each node. Struck comes
        from each of the nodes that are returned: those that are ready.
        """
        ...

    def suspect(self, nodes: Sequence[str]) -> None:
        """Somebody else lost one of these nodes: do not wait for them to start."""
        ...

    def flush(self) -> None:
        """Send what was asked for; to be called before going to sleep. ``poll`` does it too."""
        ...

    def poll(self) -> list[Event]:
        """What has happened. Raises LaunchError if there can be no node at all, once."""
        ...

    def close(self, grace_seconds: float) -> None:
        """End what runs and all processes on all nodes; returns within about the grace."""
        ...


def token(job: int, attempt: int) -> str:
    """The name of an attempt."""
    return f"{job}:{attempt}"


def job_of(token: str) -> int:
    """The job of an attempt."""
    return int(token.partition(":")[0])


def names(nodes: Sequence[str]) -> str:
    """A few nodes in words: ``nid1, nid2, nid3 and 5 more``."""
    some = ", ".join(nodes[:3])
    return f"{some} and {len(nodes) - 3} more" if len(nodes) > 3 else some
