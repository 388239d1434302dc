"""The disk of a project without space, or over a quota: starts wait, and no job fails of it."""

from __future__ import annotations

import time

#: Between two tries: at first, and at most, for it doubles each time.
FIRST_SECONDS, MOST_SECONDS = 1.0, 60.0
#: What is told is told again after so long.
TELLING_SECONDS = 600.0


class FullDisk:
    """When to start something again after a start that failed for want of space."""

    def __init__(self) -> None:
        self._full = False
        self._until = 0.0
        self._pause = FIRST_SECONDS
        self._told: float | None = None

    @property
    def deadline(self) -> float | None:
        """When (monotonic) to try again, if it is too early now."""
        return self._until if self._full and time.monotonic() < self._until else None

    def refused(self) -> bool:
        """There was no space; whether to tell that to a person."""
        now = time.monotonic()
        if self.deadline is None:  # else this was tried before it was known
            self._full, self._until = True, now + self._pause
            self._pause = min(2 * self._pause, MOST_SECONDS)
        if self._told is not None and now - self._told < TELLING_SECONDS:
            return False
        self._told = now
        return True

    def has_room(self) -> None:
        """Something has been started."""
        self._full, self._pause = False, FIRST_SECONDS
