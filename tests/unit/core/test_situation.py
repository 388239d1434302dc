"""Lengths of time in words."""

from __future__ import annotations

import pytest

from balsam.core.why.situation import span


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3, "0 s"),
        (0.4, "0 s"),
        (41, "41 s"),
        (60, "1 min"),
        (185, "3 min 5 s"),
        (3600, "1 h"),
        (3600 + 59, "1 h"),
        (7500, "2 h 5 min"),
        (2 * 86_400 + 4 * 3600 + 59, "2 d 4 h"),
    ],
)
def test_two_units_at_most(seconds: float, words: str) -> None:
    assert span(seconds) == words
