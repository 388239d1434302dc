"""The CPUs a process may use, against those it was given."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from balsam.platform.affinity import compare, confined_to, counterparts, parsed, spelled
from balsam.platform.process import family


@pytest.fixture
def sleeper() -> Iterator[int]:
    child = subprocess.Popen(["sleep", "600"])
    yield child.pid
    child.kill()
    child.wait()


@pytest.mark.parametrize("text", ["", "0", "0-3", "0-3,8", "1,3,5-7"])
def test_lists_are_read_and_written(text: str) -> None:
    assert spelled(parsed(text)) == text


def test_what_is_no_list_names_no_cpu() -> None:
    assert parsed("0-x") == parsed("ff,ff") == frozenset()


@pytest.mark.parametrize(
    ("wanted", "theirs", "ours", "expected"),
    [
        ((2,), range(4), range(8), (2,)),
        ((2, 3), range(4), range(16, 20), (18, 19)),
        ((3, 7), range(8), range(4, 12), (7, 11)),  # what is 4 to the launcher is 8 here
        ((4,), range(4, 8), range(4), (0,)),
        ((0, 64), (0, 1, 64, 65), (16, 17, 80, 81), (16, 80)),
        ((1,), range(4), range(1, 4), (1,)),  # it has fewer
        ((0,), range(4), range(1, 4), ()),
        ((9,), range(4), range(20, 29), (24,)),
        ((1,), (), range(2), (1,)),
    ],
)
def test_cpus_of_another_node(
    wanted: Sequence[int], theirs: Sequence[int], ours: Sequence[int], expected: Sequence[int]
) -> None:
    assert counterparts(wanted, theirs, ours) == expected


def test_a_process_is_where_it_was_put(sleeper: int) -> None:
    mine = os.sched_getaffinity(0)
    assert confined_to(sleeper) == mine
    assert compare(mine, sleeper) == ""
    first = min(mine)
    os.sched_setaffinity(sleeper, {first})
    assert confined_to(sleeper) == {first}
    assert compare(mine, sleeper) == ""  # it has confined itself further


def test_the_wrong_cores_are_named(sleeper: int) -> None:
    mine = os.sched_getaffinity(0)
    other = max(mine) + 1
    assert compare([other], sleeper) == (
        f"It was to be confined to the CPUs {other}, but may use {spelled(mine)}."
    )


def test_what_a_process_has_started_counts_with_it() -> None:
    mine = os.sched_getaffinity(0)
    first = min(mine)
    shell = subprocess.Popen(
        ["sh", "-c", "sh -c 'echo $$; sleep 600; :'; :"], stdout=subprocess.PIPE, text=True
    )
    assert shell.stdout is not None
    with shell.stdout:
        inner = int(shell.stdout.readline())
    try:
        os.sched_setaffinity(shell.pid, {first})
        os.sched_setaffinity(inner, mine)
        wrong = "" if mine == {first} else f"but may use {spelled(mine)}."
        assert compare([first], shell.pid).endswith(wrong)
        assert compare(mine, shell.pid) == ""
    finally:
        for pid in family(shell.pid):
            os.kill(pid, signal.SIGKILL)
        shell.wait()


def test_a_process_that_has_ended_is_right(tmp_path: Path) -> None:
    assert compare([0], 4711, proc=tmp_path) == "" and confined_to(4711, tmp_path) is None
