"""A disk without space for a work directory or an output: starts wait, and no job fails of it."""

from __future__ import annotations

import time

from balsam.platform.process import disk_is_full

#: Between two tries: at first, and at most, for it doubles each time.
FIRST_SECONDS, MOST_SECONDS = 1.0, 60.0
#: A task that finds no space for so long, in so many tries, may have a disk of its own: it fails.
PATIENCE_SECONDS, TRIES = 300.0, 5


class FullDisk:
    """When to start something again after a start that failed for want of space."""

    def __init__(self) -> None:
        #: Whether nothing was started since one failed.
        self.full = False
        self._until = 0.0
        self._pause = FIRST_SECONDS
        #: The task that was tried last: how often, and since when (monotonic).
        self._job: int | None = None
        self._tries, self._since = 0, 0.0

    @property
    def deadline(self) -> float | None:
        """When (monotonic) to try again, if it is too early now."""
        return self._until if self.full and time.monotonic() < self._until else None

    def has_refused(self, job: int, error: BaseException) -> bool:
        """A job could not be started; whether for want of space that may be there later."""
        if not disk_is_full(error):
            return False
        now = time.monotonic()
        if job != self._job:
            self._job, self._since, self._tries = job, now, 0
        self._tries += 1
        self.full = True
        self._until = now + self._pause
        self._pause = min(2 * self._pause, MOST_SECONDS)
        return self._tries < TRIES or now - self._since < PATIENCE_SECONDS

    def has_room(self) -> None:
        """Something has been started."""
        self.full, self._job, self._pause = False, None, FIRST_SECONDS
