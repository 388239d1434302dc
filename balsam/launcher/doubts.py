"""Ends of attempts that may be part of a greater one, which is heard of a moment later."""

from __future__ import annotations

import signal
import time

from balsam import states
from balsam.launcher.runs import Run
from balsam.outcomes import Outcome
from balsam.platform.process import Exit

#: A scheduler that ends a batch job sends TERM to its tasks on all nodes, to mpiruns and to the
#: launcher, in any order. What failed so shortly before it was ended by it.
DOUBT_SECONDS = 1.0
#: What the TERM of a scheduler may look like.
_DOUBTFUL = frozenset({states.EXIT, states.SIGNAL, states.MPI_LAUNCH_FAILED})


class Doubts:
    """Failed attempts, each held back for so many ``seconds`` before it counts; 0 holds none."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds
        self._held: list[tuple[float, Run, Exit, Outcome]] = []

    def take(self, run: Run, end: Exit, outcome: Outcome) -> bool:
        """Hold an attempt if it failed as one might that was ended by a scheduler."""
        likely = end.by(signal.SIGTERM) or run.mpi is not None
        if not self._seconds or not likely or outcome.data["cause"] not in _DOUBTFUL:
            return False
        run.over = True
        run.deadline = run.signal_at = None
        self._held.append((time.monotonic() + self._seconds, run, end, outcome))
        return True

    def settled(self) -> list[tuple[Run, Exit, Outcome]]:
        """Those that were stopped since, and those to be taken for what they seemed to be."""
        if not self._held:
            return []
        now = time.monotonic()
        ready = [entry for entry in self._held if entry[1].stopping or entry[0] <= now]
        self._held = [entry for entry in self._held if entry not in ready]
        return [(run, end, outcome) for _, run, end, outcome in ready]

    @property
    def deadline(self) -> float | None:
        """When (monotonic) to call :meth:`settled`."""
        return self._held[0][0] if self._held else None
