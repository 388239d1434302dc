"""A time that passes only when a test says so."""

from __future__ import annotations


class StillClock:
    """Stands in for the module ``time`` in what is tested."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def monotonic(self) -> float:
        """Seconds, as ``time.monotonic``."""
        return self.now
