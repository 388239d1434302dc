"""Moments and durations as people type them."""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta, timezone

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.cli.times import moment, seconds

NEAR = timedelta(seconds=5)


@pytest.mark.parametrize(
    ("text", "age"),
    [
        ("now", timedelta()),
        ("90s", timedelta(seconds=90)),
        ("1.5h", timedelta(minutes=90)),
        ("3 D", timedelta(days=3)),
        ("2w", timedelta(days=14)),
    ],
)
def test_ages_are_counted_back_from_now(text: str, age: timedelta) -> None:
    found = moment(text)
    assert abs(datetime.now(timezone.utc) - age - found) < NEAR
    assert found.tzinfo is timezone.utc


def test_days_begin_at_midnight_here() -> None:
    for text, back in [("today", 0), ("yesterday", 1)]:
        here = moment(text).astimezone()
        assert (here.hour, here.minute, here.second) == (0, 0, 0)
        assert (datetime.now().date() - here.date()).days == back


def test_dates_and_times_are_local_unless_they_say_otherwise() -> None:
    local = datetime(2026, 3, 1, 14, 30).astimezone(timezone.utc)
    assert moment("2026-03-01T14:30") == moment("2026-03-01 14:30:00") == local
    assert moment("2026-03-01T14:30Z") == datetime(2026, 3, 1, 14, 30, tzinfo=timezone.utc)
    assert moment("2026-03-01") == datetime(2026, 3, 1).astimezone(timezone.utc)


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01", "-3h", "5", "99999999999d"])
def test_what_is_no_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(click.BadParameter, match="2026-03-01T14:30"):
        moment(text)


@given(st.floats(0, 10_000).map(lambda n: round(n, 3)), st.sampled_from("smhdw"))
def test_lengths_of_time_have_units(number: float, unit: str) -> None:
    size = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[unit]
    assert seconds(f"{number}{unit}") == pytest.approx(number * size, abs=1e-5)


def test_a_bare_number_is_of_seconds() -> None:
    assert seconds("30") == 30.0


@pytest.mark.parametrize("text", ["", "h", "-1", "1y", "1e5", "nan", "99999999999999d"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="90s"):
        seconds(text)


@given(st.text(max_size=12))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    for read in (moment, seconds):
        with contextlib.suppress(click.BadParameter):
            read(text)
