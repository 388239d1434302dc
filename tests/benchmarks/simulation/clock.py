"""A clock that counts the real time that passes, and what is skipped of it.

What the launcher does takes as long as it takes; what it would sleep is jumped over. So a second of
the master's work is a second of the campaign, and an hour of waiting is nothing.
"""

from __future__ import annotations

import time
from datetime import datetime, timezone

_monotonic = time.monotonic
_epoch = time.time


class Clock:
    """Seconds, as the launcher sees them."""

    def __init__(self) -> None:
        #: Seconds by which it is ahead of the real clock.
        self.skipped = 0.0
        #: Seconds that the simulation itself took, and those of the processor; they do not count.
        self.excluded = self.excluded_cpu = 0.0
        self._epoch = _epoch() - _monotonic()
        self._depth = 0
        self._stopped_at = self._cpu_stopped_at = 0.0

    def monotonic(self) -> float:
        """What ``time.monotonic`` says."""
        return self.skipped + (self._stopped_at if self._depth else _monotonic())

    def time(self) -> float:
        """What ``time.time`` says."""
        return self._epoch + self.monotonic()

    def time_ns(self) -> int:
        """What ``time.time_ns`` says."""
        return int(self.time() * 1e9)

    def now(self) -> datetime:
        """What the record takes for the present."""
        return datetime.fromtimestamp(self.time(), timezone.utc)

    def skip_to(self, moment: float) -> None:
        """Jump ahead to ``moment`` (monotonic), unless it has passed."""
        self.skipped += max(0.0, moment - self.monotonic())

    def skip(self, seconds: float) -> None:
        """Let time pass that somebody's work would have taken."""
        self.skipped += seconds

    def stopped(self) -> Clock:
        """``with clock.stopped():`` the work of the simulation, while which it stands still."""
        return self

    def __enter__(self) -> None:
        if self._depth == 0:
            self._stopped_at = _monotonic()
            self._cpu_stopped_at = time.process_time()
        self._depth += 1

    def __exit__(self, *error: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            took = _monotonic() - self._stopped_at
            self.excluded += took
            self.skipped -= took
            self.excluded_cpu += time.process_time() - self._cpu_stopped_at

    def install(self) -> None:
        """Make it the clock of this process.

        Before the launcher is imported: some of its defaults are the functions themselves.
        """
        time.monotonic = self.monotonic
        time.time = self.time
        time.time_ns = self.time_ns
        from balsam.core import history

        history.now = self.now
