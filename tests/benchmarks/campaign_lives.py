"""The lives that jobs of a generated campaign have led, as data: each a way through the states."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from balsam import states
from balsam.core.waiting import READY_MESSAGE

#: In messages and data: the node a job ran on or the parent that failed, and its seconds.
WHO, WALL = "<who>", "<wall>"
#: Between being runnable and running, and between two hops of bookkeeping, in seconds.
QUEUED, PASSED = 2.0, 0.05


@dataclass(frozen=True)
class Step:
    """One event: ``fixed`` seconds and ``walls`` running times after a job's parents were done.

    ``early`` ones count from the creation of the job instead.
    """

    state: str
    message: str = ""
    data: str = "{}"
    fixed: float = 0.0
    walls: int = 0
    early: bool = False


@dataclass(frozen=True)
class Life:
    """What became of a job after it was created; ``leased`` if a launcher has it now."""

    name: str
    steps: tuple[Step, ...]
    return_code: int | None = None
    lost: int = 0
    leased: bool = False

    @property
    def state(self) -> str:
        """The state it is in."""
        return self.steps[-1].state if self.steps else states.CREATED

    @property
    def attempts(self) -> int:
        """How often it was started."""
        return sum(step.state == states.RUNNING for step in self.steps)

    @property
    def seconds(self) -> tuple[float, int]:
        """Fixed seconds and running times that it took."""
        return (self.steps[-1].fixed, self.steps[-1].walls) if self.steps else (0.0, 0)


def _data(**values: Any) -> str:
    return json.dumps(values, separators=(",", ":")).replace(f'"{WALL}"', WALL)


def _started(attempt: int = 1, walls: int = 0) -> Step:
    data = _data(attempt=attempt, pid=4711)
    return Step(states.RUNNING, f"Serial run on {WHO}", data, QUEUED * attempt, walls)


def _ended(state: str, cause: str, code: int, message: str = "", attempt: int = 1) -> Step:
    data = _data(
        cause=cause, attempt=attempt, returncode=code, nodes=[WHO], cores=1.0, gpus=[],
        wall_seconds=WALL, cpu_seconds=WALL, max_rss_kb=45_932,
        **({} if cause == states.OK else {"tail": "the last line that it wrote"}),
    )  # fmt: skip
    return Step(state, message, data, QUEUED * attempt, attempt)


def _after(state: str, message: str = "", attempt: int = 1, data: str = "{}") -> Step:
    return Step(state, message, data, QUEUED * attempt + PASSED, attempt)


def _finished(attempt: int = 1) -> tuple[Step, ...]:
    return (
        _ended(states.RUN_DONE, states.OK, 0, attempt=attempt),
        _after(states.POSTPROCESSED, "No postprocess: skipped", attempt),
        _after(states.JOB_FINISHED, attempt=attempt),
    )


def _failed(cause: str, code: int, words: str) -> Life:
    message = f"RETURN CODE {code}: attempt 1 ended with {words}"
    ended = _ended(states.RUN_ERROR, cause, code, message)
    failed = _after(states.FAILED, "No error handler: run failed")
    return Life(f"failed {cause}", (*_PREPARED, _started(), ended, failed), code)


_PREPARED = (
    Step(states.READY, READY_MESSAGE),
    Step(states.STAGED_IN),
    Step(states.PREPROCESSED, "No preprocess: skipped"),
)
_WAITED = Step(states.AWAITING_PARENTS, fixed=1.0, early=True)
_TIMED_OUT = (
    *_PREPARED,
    _started(),
    _ended(states.RUN_TIMEOUT, states.JOB_TIME_LIMIT, 143, "Attempt 1 took longer than allowed"),
)
_LOST = _data(cause=states.LAUNCHER_LOST, attempt=1)

LIVES = (
    Life("created", ()),
    Life("awaiting", (_WAITED,)),
    Life("runnable", _PREPARED),
    Life("leased", _PREPARED, leased=True),
    Life("running", (*_PREPARED, _started()), leased=True),
    Life("finished", (*_PREPARED, _started(), *_finished()), 0),
    Life(
        "finished at the second attempt",
        (
            *_TIMED_OUT,
            _after(states.RESTART_READY, "Timed out: will be run again"),
            _started(2, 1),
            *_finished(2),
        ),
        0,
    ),
    Life(
        "lost with its launcher",
        (
            *_PREPARED,
            _started(),
            _after(states.RESTART_READY, "The launcher was lost: will be run again", 1, _LOST),
        ),
        lost=1,
    ),
    _failed(states.EXIT, 1, "exit code 1"),
    _failed(states.SIGNAL, -11, "signal 11 (SIGSEGV)"),
    _failed(states.OOM, -9, "signal 9 (SIGKILL): out of memory"),
    Life("failed job_time_limit", (*_TIMED_OUT, _after(states.FAILED, "Timed out")), 143),
    Life("killed", (*_PREPARED, Step(states.USER_KILLED, "killed by hand", fixed=QUEUED))),
    Life(
        "parent failed",
        (
            _WAITED,
            Step(
                states.FAILED,
                f"One or more parent jobs failed: {WHO} is FAILED",
                _data(cause=states.PARENT_FAILED),
            ),
        ),
    ),
)
NUMBER = {life.name: index for index, life in enumerate(LIVES)}
FINISHED = {index for index, life in enumerate(LIVES) if life.state == states.JOB_FINISHED}
BROKEN = {index for index, life in enumerate(LIVES) if life.state in states.BROKEN_STATES}


def kind(life: int, has_parents: bool) -> int:
    """The number of a life, led after parents or without any."""
    return 2 * life + has_parents


def hops() -> Iterator[tuple[int, int, Step, str]]:
    """(kind, number in the life, step, state before) of every event after the first."""
    for index, life in enumerate(LIVES):
        for has_parents in (False, True):
            before = states.CREATED
            steps = life.steps
            if has_parents and steps and not steps[0].early:
                steps = (_WAITED, *steps)
            for number, step in enumerate(steps):
                yield kind(index, has_parents), number, step, before
                before = step.state
