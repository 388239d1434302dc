"""Locks that processes inherit and take with them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from balsam.conf.postgres import locks
from balsam.errors import ServerError


def test_a_lock_lives_as_long_as_whoever_inherited_it(tmp_path: Path) -> None:
    assert not locks.lives(tmp_path)
    with locks.held_for_server(tmp_path) as descriptor:
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=(descriptor,))
    assert locks.lives(tmp_path)
    with pytest.raises(ServerError, match="in use by a server"), locks.held_for_server(tmp_path):
        pass
    child.kill()
    child.communicate()
    assert locks.until_gone(tmp_path, 10)


def test_lookers_do_not_disturb_each_other(tmp_path: Path) -> None:
    with locks.held_for_server(tmp_path):
        pass
    first = os.open(tmp_path / locks.LIFE, os.O_RDWR)
    import fcntl

    fcntl.flock(first, fcntl.LOCK_SH)
    assert not locks.lives(tmp_path)
    os.close(first)


def test_starters_wait_for_each_other_and_give_up(tmp_path: Path) -> None:
    with (
        locks.only_one(tmp_path, 1),
        pytest.raises(ServerError, match="for 0 s"),
        locks.only_one(tmp_path, 0),
    ):
        pass
    with locks.only_one(tmp_path, 0):
        pass
