"""Running attempts: started, watched, ended, and told apart by why they ended."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from balsam import states
from balsam.launcher.ensemble.protocol import RUN_MARK, token
from balsam.launcher.entries import End, Start
from balsam.launcher.node_pool import Placement
from balsam.launcher.rulings import node_lost
from balsam.launcher.tasks import Mpi, Task
from balsam.outcomes import Outcome
from balsam.platform import evidence, mpirun, process, variables
from balsam.platform.process import Exit, RunSpec


@dataclass(slots=True)
class Run:
    """An attempt in progress. ``started`` is seconds since the epoch, other times are monotonic."""

    task: Task
    placement: Placement
    spec: RunSpec
    pid: int = 0
    started: float = 0.0
    #: When it began, by a clock that nobody sets.
    since: float = 0.0
    mpi: Mpi | None = None
    deadline: float | None = None
    signal_at: float | None = None
    #: The signal by which it was told that the end is near; 0 before that.
    warned: int = 0
    stopping: str = ""
    kill_at: float | None = None
    #: Its process is gone; the pid may be another's.
    over: bool = False
    #: What is wrong with the CPUs it may use, as a sentence.
    note: str = ""

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1."""
        return self.task.attempt + 1

    @property
    def token(self) -> str:
        """Its name on other nodes."""
        return token(self.task.id, self.attempt)

    @property
    def due(self) -> float | None:
        """When something has to be done about it."""
        times = (self.deadline, self.signal_at, self.kill_at)
        return min((when for when in times if when is not None), default=None)

    def begun(self, pid: int, started: float) -> Start:
        """Its process is there; what to write down."""
        self.pid, self.started, self.since = pid, started, time.monotonic()
        if self.task.time_limit_minutes:
            self.deadline = self.since + self.task.time_limit_minutes * 60
        words = f"{'MPI' if self.mpi else 'Serial'} run on {_names(self.placement.nodes)}"
        return Start(self.task.id, self.task.state, self.task.attempt, pid, started, words)

    def signal(self, number: int) -> None:
        """Send a signal to the process group."""
        if not self.over:
            process.signal_group(self.pid, number)

    def warn(self, number: int) -> None:
        """Tell it by a signal that the end is near."""
        if not self.over:
            self.warned = number
            self.signal(number)

    def stop(self, cause: str, grace_seconds: float, *, even_ended: bool = False) -> None:
        """Ask the whole process group to end; :meth:`escalate` follows after the grace.

        An attempt that has ended already keeps its own outcome, unless ``even_ended``. Any other
        was stopped, whatever its exit code: a program may save a checkpoint when it is asked to
        end, and exit with 0. One that is ``over``, but does not count yet, takes the loss of a
        node, too.
        """
        if self.over:
            if even_ended or cause == states.NODE_LOST:
                self.stopping = self.stopping or cause
            return
        if not self.stopping:
            if not even_ended and process.ended(self.pid):
                return
            self.stopping = cause
            self.signal(signal.SIGTERM)
        when = time.monotonic() + grace_seconds
        self.kill_at = when if self.kill_at is None else min(self.kill_at, when)

    def escalate(self, now: float) -> bool:
        """Whether the grace is over; :func:`kill` is to follow, and again if that does not help."""
        if self.kill_at is None or now < self.kill_at:
            return False
        self.kill_at = now + 1.0
        return True

    def kill(self) -> None:
        """KILL the process group."""
        if not self.over:
            process.signal_group(self.pid, signal.SIGKILL)

    @property
    def mark(self) -> str:
        """What its processes carry as ``RUN_MARK``; '' for one that another node looks after."""
        return self.spec.env.get(RUN_MARK, "")


def start(task: Task, placement: Placement, spec: RunSpec, mpi: Mpi | None) -> tuple[Run, Start]:
    """Start an attempt on this machine. Raises ProgramMissing and LaunchError."""
    run = Run(task, placement, spec, mpi=mpi)
    return run, run.begun(process.spawn(spec), time.time())


def kill(several: Collection[Run]) -> None:
    """KILL the groups of some attempts, all descendants, and whatever carries their marks.

    All processes are looked through once for all of them: a thousand mpiruns may be ended at once.
    """
    living = [run.pid for run in several if run.mark and not run.over]
    everyone = process.family(*living) if living else []
    for run in several:
        run.kill()
    process.signal_all(everyone, signal.SIGKILL)
    kill_leftovers(several)


def kill_leftovers(several: Iterable[Run]) -> None:
    """KILL processes of some attempts that left their groups and outlived them."""
    marks = {run.mark for run in several if run.mark}
    if marks:
        process.signal_all(process.marked_processes(RUN_MARK, *marks), signal.SIGKILL)


def _names(nodes: Sequence[str]) -> str:
    """Nodes in words; of many, the first ones."""
    return ", ".join(nodes) if len(nodes) <= 8 else f"{', '.join(nodes[:8])}, ... ({len(nodes)})"


@dataclass(frozen=True)
class Traces:
    """What else tells why an attempt ended; asked for only where its exit code does not."""

    #: Whether the kernel shows an out-of-memory kill that may be this one; of this pid, if not 0.
    oom: Callable[[int], bool]
    #: The last lines of its output.
    tail: Callable[[], str]


def traces(run: Run, watch: evidence.OomWatch | None, lines: int, *, oom: bool = False) -> Traces:
    """Those of an attempt that was started on this machine.

    ``watch`` is this machine's, if it ran on it; ``oom``: that of another saw a kill.
    """
    ranks = 1 if run.mpi is None else run.task.request.ranks_per_node
    return Traces(
        lambda pid: oom or (watch is not None and watch.struck(pid, run.since, ranks)),
        lambda: evidence.tail(run.spec.output, lines),
    )


def outcome(run: Run, end: Exit, traces: Traces, wall_seconds: float | None = None) -> Outcome:
    """What an ended attempt means for its job; ``wall_seconds`` as measured where it ran."""
    cause = _cause(run, end, traces)
    wall = end.wall_seconds if wall_seconds is None else wall_seconds
    data: dict[str, Any] = {
        "cause": cause,
        "attempt": run.attempt,
        "returncode": end.returncode,
        **_about(run),
        "wall_seconds": round(wall, 6),
        "cpu_seconds": round(end.cpu_seconds, 6),
        "max_rss_kb": end.max_rss_kb or None,
    }
    if end.read_bytes or end.write_bytes:
        data["read_bytes"], data["write_bytes"] = end.read_bytes, end.write_bytes
    if run.note:
        data["affinity"] = run.note
    if cause == states.OK:
        words = f"It was warned by {data['warned']}" if run.warned else ""
        return Outcome(states.RUN_DONE, words, data)
    tail = traces.tail()
    data["tail"] = tail
    what = evidence.describe_exit(end.returncode, end.signal)
    state, words = _consequence(run, cause, what, end.returncode)
    return Outcome(state, f"{words}\n{tail}" if tail else words, data)


def lost(run: Run, node: str, why: str) -> End:
    """The end of an attempt that vanished with its node; one that was stopped before is that."""
    wall = round(time.monotonic() - run.since, 6)
    data: dict[str, Any] = {**_about(run), "wall_seconds": wall}
    job, now = run.task.id, time.time()
    if not run.stopping:
        return node_lost(job, run.attempt, node, why, data, now)
    state, words = _consequence(run, run.stopping, why, 0)
    data.update(cause=run.stopping, attempt=run.attempt)
    return End(job, states.RUNNING, run.attempt, Outcome(state, words, data), now)


def _about(run: Run) -> dict[str, Any]:
    """Where it ran, and the signal that told it of the end."""
    data: dict[str, Any] = {
        "nodes": list(run.placement.nodes),
        "cores": round(run.placement.cores, 3),
        "gpus": list(run.placement.gpus),
    }
    if run.warned:
        data["warned"] = signal.Signals(run.warned).name
    return data


def _cause(run: Run, end: Exit, traces: Traces) -> str:
    if run.stopping:
        return run.stopping
    mpi = run.mpi
    if end.returncode == 0:
        if mpi is None or not mpi.flavour.quiet_loss:
            return states.OK
        lost_one = mpi.flavour.lost_node(_last_words(run)) is not None
        return states.NODE_LOST if lost_one else states.OK
    if run.warned and end.by(run.warned):
        return states.BATCH_TIME_LIMIT
    killed = end.by(signal.SIGKILL)
    alone = end.signal == signal.SIGKILL and mpi is None
    if (killed or mpi is not None) and traces.oom(run.pid if alone else 0):
        return states.OOM
    if end.signal:
        return states.SIGNAL
    if mpi is not None:
        said = _last_words(run)
        if mpi.flavour.oom.search(said):
            return states.OOM
        found = mpirun.launch_failure(mpi.flavour, said, end.returncode, run.spec.program)
        if found:
            return found
        if mpi.flavour.lost_node(said) is not None:
            return states.NODE_LOST
        if end.returncode > 128 and end.returncode - 128 in signal.valid_signals():
            return states.SIGNAL
    return states.EXIT


def _last_words(run: Run) -> str:
    """What mpirun said at last."""
    lines, size = mpirun.FAILURE_TAIL_LINES, mpirun.FAILURE_TAIL_BYTES
    return evidence.tail(run.spec.output, lines, size)


def _consequence(run: Run, cause: str, what: str, code: int) -> tuple[str, str]:
    """The state that follows, and why; whether it was warned, too."""
    state, words = _told(run, cause, what, code)
    if run.warned:
        words += f" after it was warned by {signal.Signals(run.warned).name}"
    return state, words


def _told(run: Run, cause: str, what: str, code: int) -> tuple[str, str]:
    if cause == states.BATCH_TIME_LIMIT and not run.stopping:
        return states.RUN_TIMEOUT, f"Attempt {run.attempt} ended with {what}"
    if cause == states.BATCH_TIME_LIMIT:
        return states.RUN_TIMEOUT, f"Attempt {run.attempt} was stopped with its launcher"
    if cause == states.JOB_TIME_LIMIT:
        limit = run.task.time_limit_minutes
        return states.RUN_TIMEOUT, f"Attempt {run.attempt} took longer than {limit:g} minutes"
    if cause == states.NODE_LOST:
        return states.RESTART_READY, f"Attempt {run.attempt} lost one of its nodes"
    if cause == states.KILLED:
        return states.RUN_ERROR, f"Attempt {run.attempt} was killed"
    if cause == states.OOM:
        words = f"Attempt {run.attempt} was ended by the kernel for lack of memory ({what})"
        return states.RUN_ERROR, words
    if cause == states.MPI_LAUNCH_FAILED:
        return states.RUN_ERROR, f"Attempt {run.attempt}: mpirun could not start it ({what})"
    if cause == states.PROGRAM_MISSING:
        return states.FAILED, f"mpirun did not find the program ({what})"
    return states.RUN_ERROR, f"RETURN CODE {code}: attempt {run.attempt} ended with {what}"


def own_environ(environ: dict[str, str], extra: dict[str, str]) -> dict[str, str]:
    """The environment every task gets: the launcher's, without an enclosing MPI's variables."""
    clean = mpirun.scrub(environ)
    for name in (*variables.OF_ONE_JOB, "BALSAM_STEP", RUN_MARK):
        clean.pop(name, None)
    clean.update(extra)
    clean.setdefault("PATH", os.defpath)
    return clean
