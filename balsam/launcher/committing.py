"""Bringing outcomes from the ledger into the journal at once, and into the record soon."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from balsam.launcher.disputes import Disputes
from balsam.launcher.guard import RETRY_SECONDS, Guard
from balsam.launcher.journal import Journal
from balsam.launcher.ledger import Ledger
from balsam.launcher.source import Source
from balsam.launcher.steps import Steps

logger = logging.getLogger(__name__)

#: Commits take at most this share of the time of a launcher that has tasks for all its cores, so
#: that they wait for more to share them: up to so many times the configured delay.
COMMIT_SHARE = 0.03
MOST_DELAYS = 32
#: The same of one that has not: a commit may release some.
SHARE_IN_WANT = 0.25


@dataclass
class Committer:
    """Writes one launcher's ledger."""

    commit_seconds: float
    ledger: Ledger
    journal: Journal
    source: Source
    steps: Steps
    disputes: Disputes
    guard: Guard
    tell: Callable[[str], None]
    _write_at: float = 0.0
    #: When the last commit ended (monotonic), and the seconds that it took.
    _ended: float = 0.0
    _took: float = 0.0

    def write(self) -> None:
        """Journal what is new."""
        if time.monotonic() < self._write_at:
            return
        try:
            self.ledger.write()
        except OSError as error:
            logger.error("the outcome journal: %s", error)
            self.tell(f"The outcome journal {self.journal.path} can not be written: {error}.")
            self._write_at = time.monotonic() + RETRY_SECONDS

    def due(self, at_once: bool) -> bool:
        """Whether what there is has waited for others for long enough, or no others will come."""
        now = time.monotonic()
        if not len(self.ledger) or now < self.guard.retry_at:
            return False
        return at_once or now >= self.due_at()

    def due_at(self) -> float:
        """When (monotonic) that will be."""
        if self.ledger.is_full:
            return self.guard.retry_at
        rested = self._ended + self._took / (SHARE_IN_WANT if self._in_want() else COMMIT_SHARE)
        soonest, latest = self.commit_seconds, self.commit_seconds * MOST_DELAYS
        due = min(max(self.ledger.oldest + soonest, rested), self.ledger.oldest + latest)
        return max(due, self.guard.retry_at)

    def _in_want(self) -> bool:
        """Whether something is idle that what a commit releases could use."""
        return not self.source.stock or self.source.nodes.idle_cores >= 1

    def commit(self) -> None:
        """Commit it, and take in what others have moved meanwhile."""
        begin = time.monotonic()
        committed = self.ledger.commit()
        self._ended = time.monotonic()
        self._took = self._ended - begin
        self.source.dirty |= bool(committed.runnable)
        self.source.wrote(*committed.events)
        self.steps.dirty |= committed.steps
        if committed.late:
            self.disputes.too_late(committed.late)
        if self.source.turn_away(committed.runnable):
            self.steps.dirty = True
