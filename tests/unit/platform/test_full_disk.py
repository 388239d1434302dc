"""How long starts wait for space, and how often that is told."""

from __future__ import annotations

import pytest

from balsam.platform import full_disk
from balsam.platform.full_disk import MOST_SECONDS, TELLING_SECONDS, FullDisk
from tests.tools.still import StillClock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StillClock:
    made = StillClock()
    monkeypatch.setattr(full_disk, "time", made)
    return made


def test_pauses_double_until_something_starts(clock: StillClock) -> None:
    disk = FullDisk()
    assert disk.deadline is None
    pauses = []
    for _ in range(10):
        disk.refused()
        assert disk.deadline is not None
        pauses.append(disk.deadline - clock.now)
        clock.now = disk.deadline
        assert disk.deadline is None
    assert pauses[:4] == [1, 2, 4, 8] and pauses[-1] == MOST_SECONDS
    disk.has_room()
    disk.refused()
    assert disk.deadline == clock.now + 1


def test_what_was_tried_before_it_was_known_makes_no_pause_longer(clock: StillClock) -> None:
    disk = FullDisk()
    for _ in range(64):
        disk.refused()
    assert disk.deadline == clock.now + 1


def test_it_is_told_at_first_and_then_now_and_then(clock: StillClock) -> None:
    disk = FullDisk()
    begin, told = clock.now, []
    while clock.now < begin + 3 * TELLING_SECONDS:
        if disk.refused():
            told.append(clock.now)
        clock.now = disk.deadline or clock.now
        if len(told) % 2:
            disk.has_room()  # for one, whose end makes room for another
    assert told[0] == begin and 3 <= len(told) <= 4
