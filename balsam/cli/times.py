"""Moments and durations as people type them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

import click

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_DAYS = {"now": None, "today": 0, "yesterday": 1}


def moment(text: str) -> datetime:
    """A time in UTC from an age (``90m``, ``2h``, ``3d``), a day word, or an ISO date or time.

    Times without a zone are local. Raises ``click.BadParameter``.
    """
    word = text.strip().lower()
    now = datetime.now(timezone.utc)
    try:
        if age := _AGE.fullmatch(word):
            return now - timedelta(**{_UNITS[age[2]]: float(age[1])})
        if word in _DAYS:
            back = _DAYS[word]
            if back is None:
                return now
            midnight = datetime.now().replace(hour=0, minute=0, second=0, microsecond=0)
            return (midnight - timedelta(days=back)).astimezone(timezone.utc)
        return datetime.fromisoformat(word.upper().replace("Z", "+00:00")).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"'{text}' is no time; write an age (90m, 2h, 3d), today, yesterday, a date "
            "(2026-03-01) or a time (2026-03-01T14:30)."
        ) from None


def seconds(text: str) -> float:
    """Seconds from a number of them or ``90s``, ``5m``, ``2h``, ``1d``. Raises BadParameter."""
    word = text.strip().lower()
    found = _AGE.fullmatch(word if word[-1:] in _UNITS else f"{word}s")
    try:
        if found:
            return timedelta(**{_UNITS[found[2]]: float(found[1])}).total_seconds()
    except OverflowError:
        pass
    raise click.BadParameter(f"'{text}' is no length of time; write 30, 90s, 5m, 2h or 1d.")
