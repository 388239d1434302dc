"""When outcomes are committed: soon, but not so often that it costs the tasks their cores."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest

from balsam.launcher import committing
from balsam.launcher.committing import (
    COMMIT_SHARE,
    MOST_DELAYS,
    SHARE_IN_WANT,
    Committer,
)
from balsam.launcher.ledger import Committed
from tests.tools.still import StillClock

DELAY = 0.02


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StillClock:
    made = StillClock(100.0)
    monkeypatch.setattr(committing, "time", made)
    return made


def committer(clock: StillClock, delay: float = DELAY, takes: float = 0.001) -> Committer:
    """One whose commits take so many seconds, and leave nothing."""
    ledger = Mock()
    ledger.__len__ = Mock(return_value=1)
    ledger.oldest = clock.now
    ledger.is_full = False

    def commit() -> Committed:
        clock.now += takes
        ledger.oldest = clock.now
        return Committed()

    ledger.commit = commit
    names = ("journal", "source", "steps", "disputes")
    others: dict[str, Any] = {name: Mock(dirty=False) for name in names}
    others["source"].stock = [Mock()]
    others["source"].nodes.idle_cores = 0
    return Committer(delay, ledger, guard=Mock(retry_at=0.0), tell=Mock(), **others)


def test_the_first_waits_for_its_delay_and_no_longer(clock: StillClock) -> None:
    made = committer(clock)
    assert made.due_at() == pytest.approx(clock.now + DELAY)
    assert not made.due(at_once=False)
    clock.now += DELAY
    assert made.due(at_once=False)


def test_those_that_follow_leave_the_machine_to_the_tasks(clock: StillClock) -> None:
    made = committer(clock)
    made.commit()
    assert made.due_at() == pytest.approx(clock.now + 0.001 / COMMIT_SHARE)
    assert made.due(at_once=True)


def test_with_nothing_to_start_what_a_commit_may_release_comes_sooner(clock: StillClock) -> None:
    made = committer(clock, takes=0.01)
    made.commit()
    made.source.stock = []  # type: ignore[assignment]
    assert made.due_at() == pytest.approx(clock.now + 0.01 / SHARE_IN_WANT)
    made.source.stock = [Mock()]  # type: ignore[assignment]
    assert made.due_at() == pytest.approx(clock.now + 0.01 / COMMIT_SHARE)


def test_idle_cores_that_what_there_is_can_not_use_are_want_as_well(clock: StillClock) -> None:
    made = committer(clock, takes=0.01)
    made.commit()
    made.source.nodes.idle_cores = 3  # type: ignore[misc]
    assert made.due_at() == pytest.approx(clock.now + 0.01 / SHARE_IN_WANT)


def test_where_there_is_room_for_no_more_it_is_due_at_once(clock: StillClock) -> None:
    made = committer(clock, takes=5.0)
    made.commit()
    assert not made.due(at_once=False)
    made.ledger.is_full = True  # type: ignore[misc]
    assert made.due(at_once=False)


def test_however_long_commits_take_nothing_waits_for_many_delays(clock: StillClock) -> None:
    made = committer(clock, takes=5.0)
    made.commit()
    assert made.due_at() == pytest.approx(clock.now + MOST_DELAYS * DELAY)


def test_at_once_is_at_once(clock: StillClock) -> None:
    made = committer(clock, delay=0.0, takes=5.0)
    made.commit()
    assert made.due(at_once=False)
