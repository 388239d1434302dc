"""Whether a launcher has nothing more to do, now or soon."""

from __future__ import annotations

import time
from dataclasses import dataclass

from balsam.launcher.attempts import Attempts
from balsam.launcher.guard import Guard
from balsam.launcher.ledger import Ledger
from balsam.launcher.recovery import Recovery
from balsam.launcher.source import Source
from balsam.launcher.steps import Steps

#: With no unfinished job left in scope, how long to wait for a last hook or user to add one.
DONE_SECONDS = 0.5
#: A pause before another attempt or step is waited for, if it is over within this time.
PAUSE_SECONDS = 60.0


@dataclass
class Idling:
    """How long one launcher waits for work that may still come."""

    exit_seconds: float
    persistent: bool
    source: Source
    attempts: Attempts
    steps: Steps
    ledger: Ledger
    guard: Guard
    recovery: Recovery
    #: Jobs in scope that had not ended when they were last counted.
    unfinished: int = 0
    _since: float | None = None

    def busy(self) -> bool:
        """Whether it holds any job."""
        steps, stock = self.steps.jobs(), self.source.stock
        return bool(len(self.attempts) or len(self.ledger) or steps or stock)

    def over(self) -> bool:
        """Whether it has been idle for long enough."""
        deadlines = [self.source.deadline, self.steps.deadline]
        soon = self.source.busy or self.source.dirty or self.steps.dirty or self.recovery.waiting
        if self.busy() or soon:
            self._since = None
            return False
        if self.persistent:
            return False
        now = time.monotonic()
        if any(due is not None and due - now <= PAUSE_SECONDS for due in deadlines):
            return False
        if self._since is None:
            self._since = now
            self.unfinished = 1
            self.guard.run(self.count)
        wait = self.exit_seconds if self.unfinished else DONE_SECONDS
        return now - self._since >= wait

    def count(self) -> None:
        """Count what has not ended."""
        self.unfinished = self.source.unfinished()
