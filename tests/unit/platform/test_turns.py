"""What a process asks of the scheduler, read back from it."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from balsam.platform import turns
from balsam.platform.turns import ATTRIBUTES, TURN_SECONDS, ask_for_short_turns

#: sched_getattr(2), one after the other.
GETTERS = {number: number + 1 for number in (314, 274, 355)}
ASKED = """
import os, subprocess, sys
from tests.unit.platform.test_turns import attributes
from balsam.platform.turns import ask_for_short_turns
before = attributes(0)
if len(sys.argv) > 1: os.setpriority(os.PRIO_PROCESS, 0, int(sys.argv[1]))
print(ask_for_short_turns())
child = subprocess.Popen(["sleep", "60"])
for found in (before, attributes(0), attributes(child.pid)):
    print(*found)
child.kill()
"""
ROOT = Path(__file__).parents[3]
known = pytest.mark.skipif(platform.machine() not in turns._NUMBERS, reason="another architecture")


def attributes(pid: int) -> tuple[int, int, int]:
    """Policy, nice value and turn (in nanoseconds) of a process, as the kernel has them."""
    found = ctypes.create_string_buffer(ATTRIBUTES.size)
    number = GETTERS[turns._NUMBERS[platform.machine()]]
    assert ctypes.CDLL(None).syscall(number, pid, found, ATTRIBUTES.size, 0) == 0
    _, policy, _, nice, _, turn, _, _ = ATTRIBUTES.unpack(found.raw)
    return policy, nice, turn


def asked(*arguments: str) -> tuple[str, list[list[int]]]:
    """What a new process was answered, and what held before, holds now, and for its child."""
    done = subprocess.run(
        [sys.executable, "-c", ASKED, *arguments],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    answer, *lines = done.stdout.splitlines()
    return answer, [[int(word) for word in line.split()] for line in lines]


@known
@pytest.mark.parametrize("nice", [0, 5])
def test_turns_are_short_for_those_who_ask_and_for_nobody_they_start(nice: int) -> None:
    answer, [before, now, child] = asked(*([str(nice)] if nice else []))
    assert answer == "True"
    if not before[2]:
        pytest.skip("this kernel knows no turns")
    assert now == [os.SCHED_OTHER, nice, int(TURN_SECONDS * 1e9)]
    assert child == [os.SCHED_OTHER, nice, before[2]] and before[2] > now[2]


@known
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may have a higher priority")
def test_a_higher_priority_goes_on_to_those_it_starts() -> None:
    answer, [before, now, child] = asked("-5")
    assert answer == "False"
    assert now == child == [os.SCHED_OTHER, -5, before[2]]


def test_a_python_without_ctypes_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ctypes", None)
    assert not ask_for_short_turns()


def test_an_unknown_architecture_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "vax")
    assert not ask_for_short_turns()


def test_another_way_of_scheduling_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getscheduler", lambda pid: os.SCHED_BATCH)
    assert not ask_for_short_turns()
