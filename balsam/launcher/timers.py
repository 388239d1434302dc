"""When to look at which attempt again, without looking at all of them."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

#: So many times may be kept of jobs that are gone, and as many as there are jobs.
_GONE = 1024


class Timers:
    """Times (monotonic) by job. One too early does no harm: who is woken looks for himself."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []

    def set(self, when: float | None, job: int) -> None:
        """Look at a job then."""
        if when is not None:
            heapq.heappush(self._heap, (when, job))

    def is_crowded(self, jobs: int) -> bool:
        """Whether most of the times are of jobs that are gone, where there are so many."""
        return len(self._heap) > 2 * jobs + _GONE

    def renew(self, times: Iterable[tuple[float, int]]) -> None:
        """Forget all of them but these."""
        self._heap = list(times)
        heapq.heapify(self._heap)

    def first(self) -> float | None:
        """The next of these times."""
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> Iterator[int]:
        """The jobs to look at by now."""
        while self._heap and self._heap[0][0] <= now:
            yield heapq.heappop(self._heap)[1]
