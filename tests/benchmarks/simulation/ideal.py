"""What a launcher without any delay would have needed for the same tasks in the same order."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapreplace


def makespan(lengths: Iterable[float], slots: int) -> float:
    """Seconds until the last one ends, if each starts as soon as a slot is free."""
    free = [0.0] * slots
    end = 0.0
    for length in lengths:
        done = free[0] + length
        heapreplace(free, done)
        end = max(end, done)
    return end
