"""A launcher that goes on while its database is locked, full or away for the moment."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from balsam.core.record import TROUBLE

logger = logging.getLogger(__name__)

#: Between two tries to reach a database that does not answer: at first, and at most.
RETRY_SECONDS = 1.0
MOST_RETRY_SECONDS = 15.0


class Guard:
    """Does things with the database, and leaves it alone for a while when it does not answer."""

    def __init__(self, tell: Callable[[str], None], lease_seconds: float) -> None:
        self._tell = tell
        # Who is away for longer than a lease after the database is back is taken for dead.
        self._most_pause = min(MOST_RETRY_SECONDS, lease_seconds / 3)
        #: When (monotonic) to try again.
        self.retry_at = 0.0
        #: It failed since somebody last took notice.
        self.shaken = False
        self._failed_at: float | None = None
        self._away_seconds = 0.0
        self._pause = RETRY_SECONDS

    def run(self, action: Callable[[], None]) -> bool:
        """Do something with the database; False if it is locked, full or away for the moment.

        Tasks go on meanwhile, and what they come to is journalled until commits work again.
        """
        if time.monotonic() < self.retry_at:
            return False
        try:
            action()
        except TROUBLE as error:
            self._failed_at = self._failed_at or time.monotonic()
            self.retry_at = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, self._most_pause)
            self.shaken = True
            logger.error("the database does not answer: %s", error)
            said = str(error).rstrip(".\n")
            self._tell(f"The database does not answer ({said}); tasks go on, trying again.")
            return False
        self._pause = RETRY_SECONDS
        if self._failed_at is not None:
            self._away_seconds = self.away()
            self._failed_at = None
        return True

    def away(self) -> float:
        """For how many seconds the database has not answered, now or the last time."""
        failed = self._failed_at
        return self._away_seconds if failed is None else time.monotonic() - failed
