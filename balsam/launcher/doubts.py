"""Ends of attempts that may be part of a greater one, which is heard of a moment later."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field

from balsam import states
from balsam.launcher.ensemble.protocol import Hands, Struck
from balsam.launcher.runs import Run
from balsam.outcomes import Outcome
from balsam.platform.process import Exit

#: A scheduler that ends a batch job sends TERM to its tasks on all nodes, to mpiruns and to the
#: launcher, in any order. What failed so shortly before it was ended by it.
DOUBT_SECONDS = 1.0
#: How long nodes may take to say whether their kernel killed something for want of memory.
ANSWER_SECONDS = 2.0
#: What the TERM of a scheduler may look like, and what a rank that was killed far away may.
_DOUBTFUL = frozenset({states.EXIT, states.SIGNAL, states.MPI_LAUNCH_FAILED})


@dataclass(eq=False)
class Doubt:
    """An attempt that failed, as ``outcome`` has it so far; ``until`` is monotonic."""

    run: Run
    end: Exit
    outcome: Outcome
    until: float
    #: A scheduler may have ended it, and news of that are on their way.
    by_scheduler: bool
    #: Nodes that have yet to answer, and until when.
    asked: set[str] = field(default_factory=set)
    answers_until: float = 0.0
    #: The kernel of one of its nodes killed something for want of memory.
    oom: bool = False

    def due(self) -> float:
        """When it is settled at the latest."""
        return max(self.until, self.answers_until) if self.asked else self.until


class Doubts:
    """Failed attempts, each held back for so many ``seconds`` before it counts; 0 holds none.

    The ``hands`` are asked for out-of-memory kills on the nodes of an mpirun.
    """

    def __init__(self, seconds: float = 0.0, hands: Hands | None = None) -> None:
        self._seconds = seconds
        self._hands = hands
        self._held: list[Doubt] = []

    def take(self, run: Run, end: Exit, outcome: Outcome) -> bool:
        """Hold an attempt if it failed as one might that was ended by a scheduler, or far away."""
        if outcome.data["cause"] not in _DOUBTFUL:
            return False
        now = time.monotonic()
        likely = self._seconds > 0 and (end.by(signal.SIGTERM) or run.mpi is not None)
        doubt = Doubt(run, end, outcome, now + self._seconds * likely, likely)
        if run.mpi is not None and self._hands:
            nodes, ranks = run.placement.nodes, run.task.request.ranks_per_node
            doubt.asked |= self._hands.ask_memory(run.token, nodes, now - run.since, ranks)
            doubt.answers_until = now + ANSWER_SECONDS
        if doubt.due() <= now:
            return False
        run.over = True
        run.deadline = run.signal_at = None
        self._held.append(doubt)
        return True

    def hear(self, answer: Struck) -> None:
        """What a node says of an attempt."""
        for doubt in self._held:
            if doubt.run.token == answer.token:
                doubt.asked.discard(answer.node)
                doubt.oom |= answer.oom

    def settled(self) -> list[Doubt]:
        """Those that are explained by now, and those to be taken for what they seemed to be."""
        if not self._held:
            return []
        now = time.monotonic()
        ready = [one for one in self._held if one.run.stopping or one.oom or one.due() <= now]
        self._held = [one for one in self._held if one not in ready]
        for one in ready:
            if not one.by_scheduler and one.run.stopping != states.NODE_LOST:
                one.run.stopping = ""  # it came later than its end
        return ready

    @property
    def deadline(self) -> float | None:
        """When (monotonic) to call :meth:`settled`."""
        return min((one.due() for one in self._held), default=None)
