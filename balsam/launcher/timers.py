"""When to look at which attempt again, without looking at all of them."""

from __future__ import annotations

import heapq
from collections.abc import Iterator


class Timers:
    """Times (monotonic) by job. One too early does no harm: who is woken looks for himself."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []

    def set(self, when: float | None, job: int) -> None:
        """Look at a job then."""
        if when is not None:
            heapq.heappush(self._heap, (when, job))

    def first(self) -> float | None:
        """The next of these times."""
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> Iterator[int]:
        """The jobs to look at by now."""
        while self._heap and self._heap[0][0] <= now:
            yield heapq.heappop(self._heap)[1]
