"""When a keeper takes its launcher for gone."""

from __future__ import annotations

import os
import subprocess

from balsam import states
from balsam.launcher.ensemble.vigil import FIRST_SECONDS, Verdict, Vigil
from balsam.platform import node as machine

GONE = Verdict("its launcher is gone")


class Clock:
    """Goes on when it is told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def launcher(pid: int, started: int = 0, identity: str = "") -> dict[str, object]:
    """What a rank says of the launcher; of this host, if nothing else is said."""
    return {"launcher": [identity or machine.identity(), pid, started], "silence": 10.0}


def dead() -> int:
    """The pid of a process that has ended."""
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid


def test_nobody_comes() -> None:
    clock = Clock()
    vigil = Vigil(clock=clock)
    assert vigil.due(alone=True) == FIRST_SECONDS and vigil.verdict(alone=True) is None
    clock.now += FIRST_SECONDS
    verdict = vigil.verdict(alone=True)
    assert verdict is not None and verdict.why == "its launcher has been silent for 60 s"


def test_who_is_heard_of_is_there() -> None:
    """A word from long ago does not count, and a later one ends all doubt."""
    clock = Clock()
    vigil = Vigil(clock=clock)
    vigil.greeted(launcher(1, identity="another host"))
    for _ in range(5):
        clock.now += 9
        vigil.heard(clock.now)
        vigil.heard(clock.now - 8)
        assert vigil.due(alone=False) == 10 and vigil.verdict(alone=True) is None
    vigil.orphaned(3)
    assert vigil.due(alone=False) == 3
    vigil.heard(clock.now)
    clock.now += 3
    assert vigil.verdict(alone=False) is None
    vigil.orphaned(3)
    clock.now += 3
    assert vigil.verdict(alone=False) == GONE
    clock.now += 4
    vigil.greeted(launcher(1, identity="another host"))
    assert vigil.verdict(alone=False) == Verdict("its launcher has been silent for 10 s")


def test_who_is_greeted_late_has_all_the_time_from_then_on() -> None:
    clock = Clock()
    vigil = Vigil(clock=clock)
    clock.now += 20
    vigil.greeted(launcher(1, identity="another host"))
    assert vigil.verdict(alone=False) is None and vigil.due(alone=False) == 10
    clock.now += 5
    vigil.greeted(launcher(1, identity="another host"))
    assert vigil.due(alone=False) == 5


def test_a_scheduler_ends_it() -> None:
    vigil = Vigil(clock=Clock())
    vigil.terminated()
    verdict = vigil.verdict(alone=False)
    assert verdict is not None and verdict.cause == states.BATCH_TIME_LIMIT


def test_a_dead_launcher_on_its_own_host_is_seen() -> None:
    """Only where no rank would tell, and no oftener than is worth it."""
    clock = Clock()
    vigil = Vigil(clock=clock)
    vigil.greeted(launcher(os.getpid(), machine.start_time(os.getpid())))
    assert vigil.verdict(alone=True) is None
    vigil.greeted(launcher(dead()))
    assert vigil.verdict(alone=True) is None and 0 < vigil.due(alone=True) < 1
    clock.now += 1
    assert vigil.verdict(alone=False) is None
    assert vigil.verdict(alone=True) == GONE


def test_a_rank_that_dies_before_it_says_anything() -> None:
    vigil = Vigil((dead(), 1), clock=Clock())
    verdict = vigil.verdict(alone=True)
    assert verdict is not None and (verdict.why, verdict.grace_seconds) == ("its rank is gone", 0)
