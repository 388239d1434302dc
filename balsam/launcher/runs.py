"""Running attempts: started, watched, ended, and told apart by why they ended."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from typing import Any

from balsam import states
from balsam.launcher.node_pool import Placement
from balsam.launcher.tasks import RUN_MARK, Mpi, Task
from balsam.outcomes import Outcome
from balsam.platform import evidence, mpirun, process
from balsam.platform.process import Exit, RunSpec


@dataclass
class Run:
    """One attempt in progress. ``started`` is seconds since the epoch, all else is monotonic."""

    task: Task
    placement: Placement
    spec: RunSpec
    pid: int
    started: float
    begun: float
    mpi: Mpi | None = None
    deadline: float | None = None
    stopping: str = ""
    kill_at: float | None = None

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1."""
        return self.task.attempt + 1

    def stop(self, cause: str, grace_seconds: float, *, even_ended: bool = False) -> None:
        """Ask the whole process group to end; :meth:`escalate` follows after the grace.

        An attempt that has ended already keeps its own outcome, unless ``even_ended``. Any other
        was stopped, whatever its exit code: a program may save a checkpoint when it is asked to
        end, and exit with 0.
        """
        if not self.stopping:
            if not even_ended and process.ended(self.pid):
                return
            self.stopping = cause
            process.signal_group(self.pid, signal.SIGTERM)
        when = time.monotonic() + grace_seconds
        self.kill_at = when if self.kill_at is None else min(self.kill_at, when)

    def escalate(self, now: float) -> bool:
        """KILL everything the attempt started, once the grace is over; True if it was done."""
        if self.kill_at is None or now < self.kill_at:
            return False
        self.kill_at = now + 1.0
        self.kill()
        return True

    def kill(self) -> None:
        """KILL the group, all descendants, and whatever carries the attempt's mark."""
        everyone = process.family(self.pid)
        process.signal_group(self.pid, signal.SIGKILL)
        process.signal_all(everyone, signal.SIGKILL)
        self.kill_leftovers()

    def kill_leftovers(self) -> None:
        """KILL processes of this attempt that left its group and outlived it."""
        mark = self.spec.env[RUN_MARK]
        process.signal_all(process.marked_processes(RUN_MARK, mark), signal.SIGKILL)


def start(
    task: Task, placement: Placement, spec: RunSpec, mpi: Mpi | None, limit_minutes: float
) -> Run:
    """Start an attempt. Raises ProgramMissing and LaunchError."""
    pid = process.spawn(spec)
    begun = time.monotonic()
    deadline = begun + limit_minutes * 60 if limit_minutes else None
    return Run(task, placement, spec, pid, time.time(), begun, mpi, deadline)


def outcome(run: Run, end: Exit, oom: evidence.OomWatch, tail_lines: int) -> Outcome:
    """What an ended attempt means for its job."""
    cause = _cause(run, end, oom)
    data: dict[str, Any] = {
        "cause": cause,
        "attempt": run.attempt,
        "returncode": end.returncode,
        "nodes": list(run.placement.nodes),
        "cores": round(run.placement.cores, 3),
        "gpus": list(run.placement.gpus),
        "wall_seconds": round(end.wall_seconds, 6),
        "cpu_seconds": round(end.cpu_seconds, 6),
        "max_rss_kb": end.max_rss_kb,
    }
    if end.read_bytes or end.write_bytes:
        data["read_bytes"], data["write_bytes"] = end.read_bytes, end.write_bytes
    if cause == states.OK:
        return Outcome(states.RUN_DONE, "", data)
    tail = evidence.tail(run.spec.output, tail_lines)
    data["tail"] = tail
    what = evidence.describe_exit(end.returncode, end.signal)
    state, words = _consequence(run, cause, what, end.returncode)
    return Outcome(state, f"{words}\n{tail}" if tail else words, data)


def _cause(run: Run, end: Exit, oom: evidence.OomWatch) -> str:
    if run.stopping:
        return run.stopping
    if end.returncode == 0:
        return states.OK
    killed = end.signal == signal.SIGKILL or end.returncode == 128 + signal.SIGKILL
    alone = end.signal == signal.SIGKILL and run.mpi is None
    if (killed or run.mpi is not None) and oom.struck(run.pid if alone else 0):
        oom.refresh()
        return states.OOM
    if end.signal:
        return states.SIGNAL
    if run.mpi is not None:
        tail = evidence.tail(
            run.spec.output, mpirun.FAILURE_TAIL_LINES, mpirun.FAILURE_TAIL_BYTES
        )
        program = run.spec.argv[0]
        found = mpirun.launch_failure(run.mpi.flavour, tail, end.returncode, program)
        if found:
            return found
        if end.returncode > 128 and end.returncode - 128 in signal.valid_signals():
            return states.SIGNAL
    return states.EXIT


def _consequence(run: Run, cause: str, what: str, code: int) -> tuple[str, str]:
    if cause == states.BATCH_TIME_LIMIT:
        return states.RUN_TIMEOUT, f"Attempt {run.attempt} was stopped with its launcher"
    if cause == states.JOB_TIME_LIMIT:
        limit = run.task.time_limit_minutes
        return states.RUN_TIMEOUT, f"Attempt {run.attempt} took longer than {limit:g} minutes"
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
    for name in ("BALSAM_JOB_TIMEOUT", "BALSAM_JOB_ERROR", "BALSAM_STEP", RUN_MARK):
        clean.pop(name, None)
    clean.update(extra)
    clean.setdefault("PATH", os.defpath)
    return clean
