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
        waited = now - self.ledger.oldest
        return waited >= self.commit_seconds or at_once

    def due_at(self) -> float:
        """When (monotonic) that will be."""
        return max(self.ledger.oldest + self.commit_seconds, self.guard.retry_at)

    def commit(self) -> None:
        """Commit it, and take in what others have moved meanwhile."""
        committed = self.ledger.commit()
        self.source.dirty |= bool(committed.runnable)
        self.steps.dirty |= committed.steps
        if committed.late:
            self.disputes.too_late(committed.late)
        self.source.turn_away(committed.runnable)
