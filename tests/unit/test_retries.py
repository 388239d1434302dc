"""Limits of retries, from text and as data."""

from __future__ import annotations

import pytest

from balsam import retries, states
from balsam.errors import InvalidValue


def test_limits_of_steps_are_written_like_those_of_attempts() -> None:
    found = retries.rules("hook=2:30s, staging=3:10s, oom=1")
    assert found == {
        states.HOOK: {"limit": 2, "backoff_seconds": 30.0},
        states.STAGING: {"limit": 3, "backoff_seconds": 10.0},
        states.OOM: {"limit": 1},
    }
    assert retries.rules(retries.spelled(found)) == found == retries.rules(found)


@pytest.mark.parametrize("cause", states.CAUSES)
def test_each_cause_takes_a_limit_or_says_why_not(cause: str) -> None:
    if cause in retries.CAUSES:
        assert retries.rules({cause: 1}) == {cause: {"limit": 1}}
        return
    with pytest.raises(InvalidValue, match=f"takes no limit for '{cause}': .+"):
        retries.rules({cause: 1})


def test_pauses_double() -> None:
    assert [retries.pause_seconds(30, number, 100) for number in (1, 2, 3)] == [30, 60, 100]
    assert retries.pause_seconds(0, 5, 100) == 0
