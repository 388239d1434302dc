"""How long a launcher waits for space, and for whom."""

from __future__ import annotations

import errno
import os

import pytest

from balsam.errors import LaunchError
from balsam.platform import full_disk
from balsam.platform.full_disk import MOST_SECONDS, PATIENCE_SECONDS, TRIES, FullDisk


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(full_disk, "time", clock)
    return clock


def failed(number: int) -> LaunchError:
    error = LaunchError("The work directory can not be made.")
    error.__cause__ = OSError(number, os.strerror(number))
    return error


def test_pauses_double_until_something_starts(clock: Clock) -> None:
    disk = FullDisk()
    assert disk.deadline is None
    pauses = []
    for job in range(10):
        assert disk.has_refused(job, failed(errno.ENOSPC)) and disk.full
        assert disk.deadline is not None
        pauses.append(disk.deadline - clock.now)
        clock.now = disk.deadline
        assert disk.deadline is None and disk.full
    assert pauses[:4] == [1, 2, 4, 8] and pauses[-1] == MOST_SECONDS
    disk.has_room()
    assert not disk.full and disk.has_refused(1, failed(errno.EDQUOT))
    assert disk.deadline == clock.now + 1


def test_a_task_whose_own_disk_stays_full_is_given_up(clock: Clock) -> None:
    disk = FullDisk()
    begin, tries = clock.now, 1
    while disk.has_refused(7, failed(errno.ENOSPC)):
        clock.now, tries = disk.deadline or 0.0, tries + 1
    assert clock.now - begin >= PATIENCE_SECONDS and tries >= TRIES
    assert disk.has_refused(8, failed(errno.ENOSPC))


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOTDIR, errno.ENAMETOOLONG])
def test_other_trouble_is_the_task_s_own(clock: Clock, number: int) -> None:
    disk = FullDisk()
    assert not disk.has_refused(1, failed(number))
    assert not disk.has_refused(1, LaunchError("no cause"))
    assert disk.deadline is None and not disk.full
