"""Sleeping until something happens: each notice wakes once, and none is lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from balsam.launcher.wakeup import Wakeup


@pytest.fixture
def wakeup() -> Iterator[Wakeup]:
    with Wakeup(signals=(signal.SIGUSR1,)) as made:
        yield made


def slept(wakeup: Wakeup, seconds: float) -> bool:
    """Whether it slept to the end."""
    begin = time.monotonic()
    wakeup.wait(seconds)
    return time.monotonic() - begin >= seconds


def test_it_sleeps_while_nothing_happens(wakeup: Wakeup) -> None:
    assert slept(wakeup, 0.02)
    assert wakeup.stop_requests == 0


@pytest.mark.parametrize("number", [1, 3, 200])
def test_signals_that_came_before_wake_it_once(wakeup: Wakeup, number: int) -> None:
    for _ in range(number):
        os.kill(os.getpid(), signal.SIGCHLD)
    assert not slept(wakeup, 5.0)
    assert slept(wakeup, 0.02)


def test_a_signal_that_asks_to_stop_is_counted_and_wakes_it(wakeup: Wakeup) -> None:
    os.kill(os.getpid(), signal.SIGUSR1)
    assert wakeup.stop_requests == 1 and wakeup.stop_signal == signal.SIGUSR1
    assert not slept(wakeup, 5.0)


def test_what_it_watches_wakes_it_as_long_as_there_is_something_to_read(wakeup: Wakeup) -> None:
    reader, writer = os.pipe()
    try:
        wakeup.watch([reader])
        assert slept(wakeup, 0.02)
        os.write(writer, b"x")
        assert not slept(wakeup, 5.0)
        assert not slept(wakeup, 5.0)
        os.read(reader, 1)
        assert slept(wakeup, 0.02)
        os.write(writer, b"x")
        wakeup.watch([])
        assert slept(wakeup, 0.02)
    finally:
        os.close(reader)
        os.close(writer)


def test_handlers_come_back(wakeup: Wakeup) -> None:
    before = signal.getsignal(signal.SIGUSR2)
    with Wakeup(signals=(signal.SIGUSR2,)):
        assert signal.getsignal(signal.SIGUSR2) is not before
    assert signal.getsignal(signal.SIGUSR2) is before
