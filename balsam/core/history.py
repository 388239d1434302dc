"""The written form of events: history lines and their times, as every Balsam has printed them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone

#: ``[03-01-2018 13:39:45.964650 READY] message``; times are UTC.
TIME_FMT = "%m-%d-%Y %H:%M:%S.%f"
STATE_TIME_PATTERN = r"^\[(?P<time>\d{2}-\d{2}-\d{4} \d{2}:\d{2}:\d{2}\.\d{6}) (?P<state>[A-Z_]+)\]"


def now() -> datetime:
    """The present, aware, in UTC."""
    return datetime.now(timezone.utc)


def get_time_string(time: datetime | None = None) -> str:
    """``time`` (now by default) as history lines spell it, in UTC."""
    time = time or now()
    if time.tzinfo is not None:
        time = time.astimezone(timezone.utc)
    return time.strftime(TIME_FMT)


def from_time_string(text: str) -> datetime:
    """The aware UTC time that :func:`get_time_string` wrote."""
    return datetime.strptime(text, TIME_FMT).replace(tzinfo=timezone.utc)


def history_line(state: str, message: str = "", time: datetime | None = None) -> str:
    """One line of history, without a line break at its end."""
    return f"[{get_time_string(time)} {state}] {message}".rstrip()


def history_text(events: Iterable[tuple[datetime, str, str]]) -> str:
    """The history of a job from its (time, state, message) events, oldest first."""
    return "\n".join(history_line(state, message, time) for time, state, message in events)
