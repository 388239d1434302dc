"""The written form of events."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from balsam import states
from balsam.core import history

UTC = st.datetimes(datetime(2000, 1, 1), datetime(2200, 1, 1), timezones=st.just(timezone.utc))


@given(UTC)
def test_times_are_read_as_they_were_written(time: datetime) -> None:
    assert history.from_time_string(history.get_time_string(time)) == time


def test_times_of_other_zones_are_written_in_utc() -> None:
    east = datetime(2018, 3, 1, 15, 39, 45, 964650, timezone(timedelta(hours=2)))
    assert history.get_time_string(east) == "03-01-2018 13:39:45.964650"


@given(UTC, st.sampled_from(states.STATES))
def test_a_line_gives_its_time_and_state_back(time: datetime, state: str) -> None:
    line = history.history_line(state, "words", time)
    found = re.match(history.STATE_TIME_PATTERN, line)
    assert found is not None
    assert history.from_time_string(found["time"]) == time
    assert found["state"] == state
    assert line.endswith("] words")


def test_a_line_without_message_has_no_blank_at_its_end() -> None:
    assert history.history_line(states.READY).endswith("READY]")


def test_a_history_is_one_line_an_event() -> None:
    time = datetime(2020, 1, 2, tzinfo=timezone.utc)
    text = history.history_text([(time, states.CREATED, ""), (time, states.READY, "go")])
    assert text == "[01-02-2020 00:00:00.000000 CREATED]\n[01-02-2020 00:00:00.000000 READY] go"


def test_the_present_is_aware() -> None:
    assert history.now().tzinfo == timezone.utc
