"""Times to look at attempts again, without a database or a clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from balsam.launcher.timers import Timers


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 9))), st.floats(0, 100))
def test_who_is_due_is_named_once_for_each_time_set(
    times: list[tuple[float, int]], now: float
) -> None:
    timers = Timers()
    for when, job in times:
        timers.set(when, job)
    assert timers.first() == min((when for when, _ in times), default=None)
    assert sorted(timers.due(now)) == sorted(job for when, job in times if when <= now)
    assert sorted(timers.due(200.0)) == sorted(job for when, job in times if when > now)


def test_never_is_no_time() -> None:
    timers = Timers()
    timers.set(None, 1)
    assert timers.first() is None


def test_times_of_jobs_that_are_gone_are_forgotten() -> None:
    timers = Timers()
    most = 0
    for job in range(100_000):
        timers.set(1e9 + job, job)
        if timers.is_crowded(64):
            timers.renew([(1e9 + job - left, job - left) for left in range(64)])
        most = max(most, len(timers._heap))
    assert most < 2000
    assert timers.first() is not None and timers.first() >= 1e9 + 90_000  # type: ignore[operator]
