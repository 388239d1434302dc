"""Launchers that were at work at the same time are counted by their heartbeats."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from balsam.core.care.questions import Span
from balsam.doctor.limits import busiest

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


def spans(*given: tuple[str, int, int]) -> list[Span]:
    """Lives, by host and minutes after noon."""
    return [
        Span(host, NOON + timedelta(minutes=start), NOON + timedelta(minutes=end))
        for host, start, end in given
    ]


@pytest.mark.parametrize(
    ("lives", "sessions", "hosts"),
    [
        ([], 0, 0),
        ([("a", 0, 5)], 1, 1),
        ([("a", 0, 5), ("a", 5, 9)], 1, 1),
        ([("a", 0, 6), ("a", 5, 9), ("b", 8, 9)], 2, 2),
        ([("a", 0, 9), ("a", 1, 8), ("a", 2, 7)], 3, 1),
        ([("a", 0, 9), ("b", 1, 2), ("c", 3, 4)], 2, 2),
        ([("a", 0, 0), ("b", 0, 0)], 1, 1),
    ],
)
def test_the_most_at_once(lives: list[tuple[str, int, int]], sessions: int, hosts: int) -> None:
    assert busiest(spans(*lives)) == (sessions, hosts)
