"""The rate at which attempts end: how much is leased ahead goes by it."""

from __future__ import annotations

import pytest

from balsam.core.lease import Scope
from balsam.launcher import progress
from balsam.launcher.progress import SHORTEST, WINDOW, Progress
from tests.tools.still import StillClock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StillClock:
    made = StillClock(100.0)
    monkeypatch.setattr(progress, "time", made)
    return made


def test_before_anything_has_ended_there_is_no_rate(clock: StillClock) -> None:
    given = Progress(Scope(), None)
    assert given.rate() == 0
    given.started()
    clock.now += 60
    assert given.rate() == 0


def test_the_rate_does_not_suffer_from_the_time_before_the_first_start(clock: StillClock) -> None:
    given = Progress(Scope(), None)
    clock.now += 4  # the record was looked through
    for _ in range(100):
        given.started()
        clock.now += 0.001
        given.ended()
    assert given.rate() == pytest.approx(1000, rel=0.01)


def test_a_first_end_at_once_is_no_rate_to_go_by(clock: StillClock) -> None:
    given = Progress(Scope(), None)
    given.started()
    clock.now += 1e-6
    given.ended()
    assert given.rate() == pytest.approx(1 / SHORTEST)


def test_what_ends_after_a_long_time_is_taken_over_the_window(clock: StillClock) -> None:
    given = Progress(Scope(), None)
    given.started()
    clock.now += 360
    given.ended()
    given.ended()
    assert given.rate() == pytest.approx(2 / WINDOW)
    clock.now += WINDOW + 0.1
    assert given.rate() == 0
