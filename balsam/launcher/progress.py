"""How the work goes: counts, rate and time left, at a cost that does not grow with the project."""

from __future__ import annotations

import time
from collections import deque

from balsam import states
from balsam.core import lease
from balsam.core.lease import Scope
from balsam.launcher.options import Snapshot

#: Seconds over which the rate is taken: all at most, and at least so few.
WINDOW, SHORTEST = 5.0, 0.05
#: Counting may take this share of the launcher's time, with so many seconds at least and at most
#: between two counts.
SHARE = 0.01
SOONEST_SECONDS, LATEST_SECONDS = 1.0, 30.0


class Progress:
    """Counts of a launcher's scope and the rate at which its attempts end."""

    def __init__(self, scope: Scope, limit_seconds: float | None) -> None:
        self._scope = scope
        self._begin = time.monotonic()
        self._limit = limit_seconds
        self._first_start: float | None = None
        self._ends: deque[tuple[float, int]] = deque()
        self._next = self._begin
        self._counts: dict[str, int] = {}
        self._failed_before: int | None = None

    def started(self) -> None:
        """An attempt was started now."""
        if self._first_start is None:
            self._first_start = time.monotonic()

    def ended(self) -> None:
        """An attempt ended now."""
        now = time.monotonic()
        if self._ends and now - self._ends[-1][0] < 0.05:
            first, number = self._ends.pop()
            self._ends.append((first, number + 1))
        else:
            self._ends.append((now, 1))

    def rate(self) -> float:
        """Attempts ended per second, over the last few seconds or since the first one began."""
        now = time.monotonic()
        while self._ends and now - self._ends[0][0] > WINDOW:
            self._ends.popleft()
        span = min(WINDOW, max(SHORTEST, now - (self._first_start or now)))
        return sum(number for _, number in self._ends) / span

    def seconds_left(self) -> float | None:
        """Seconds until the launcher's time limit, None without one."""
        return None if self._limit is None else self._limit - (time.monotonic() - self._begin)

    def due(self) -> bool:
        """Whether it is time to count and tell again."""
        return time.monotonic() >= self._next

    def begin(self) -> None:
        """Count for the first time: what has failed by now is no news."""
        self.count()
        self._next = self._begin

    @property
    def jobs(self) -> int:
        """Jobs in scope when they were last counted."""
        return sum(self._counts.values())

    def count(self) -> None:
        """Count the jobs in scope; the more that costs, the rarer it is done."""
        begin = time.monotonic()
        self._next = begin + LATEST_SECONDS  # should the database not answer
        self._counts = lease.counts(self._scope)
        if self._failed_before is None:
            self._failed_before = self._counts.get(states.FAILED, 0)
        now = time.monotonic()
        self._next = now + min(max((now - begin) / SHARE, SOONEST_SECONDS), LATEST_SECONDS)

    def snapshot(self, running: int, *, final: bool = False, notice: str = "") -> Snapshot:
        """What to tell."""
        count = self._counts.get
        done = count(states.JOB_FINISHED, 0)
        failed, killed = count(states.FAILED, 0), count(states.USER_KILLED, 0)
        return Snapshot(
            running=running,
            done=done,
            failed=failed,
            waiting=max(0, self.jobs - done - failed - killed - running),
            rate_per_s=self.rate(),
            seconds_left=self.seconds_left(),
            elapsed=time.monotonic() - self._begin,
            final=final,
            notice=notice,
            killed=killed,
            newly_failed=max(0, failed - (self._failed_before or 0)),
        )
