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
