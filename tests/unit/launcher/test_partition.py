"""Parts of an allocation: how they are written, and what the launchers of them are told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from balsam.errors import AllocationError, InvalidValue
from balsam.launcher.options import SERIAL, LauncherOptions, tag_of
from balsam.launcher.partition import Part, Slice, part_of, share, slices, together

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mpi:4", Part("mpi", 4)),
        ("serial:1:a=b", Part("serial", 1, (("a", "b"),))),
        ("auto:2:a=b=c:d=", Part("auto", 2, (("a", "b=c"), ("d", "")))),
    ],
)
def test_parts(text: str, expected: Part) -> None:
    assert part_of(text) == expected


@pytest.mark.parametrize("text", ["", "mpi", "mpi:", "mpi:0", "mpi:x", "mp:1", "mpi:-1", "mpi:1.5"])
def test_what_is_no_part(text: str) -> None:
    with pytest.raises(InvalidValue, match=r"A part is MODE:NODES\[:TAG=VALUE\]"):
        part_of(text)


def test_tags() -> None:
    assert tag_of("a=b") == ("a", "b")
    for text in ("a", "=b", "mpi:1:a"):
        with pytest.raises(InvalidValue, match="NAME=VALUE"):
            tag_of(text.rpartition(":")[2])


def test_parts_follow_each_other() -> None:
    parts = [Part("mpi", 3), Part("serial", 1, (("a", "b c"),))]
    first, second = slices(parts, 5, offset=2)
    assert (first, second) == (Slice(parts[0], 2), Slice(parts[1], 5))
    assert (first.name, second.name) == ("mpi 2-4", "serial 5")
    assert second.words() == [
        "--offset-nodes=5", "--limit-nodes=1", "--job-mode=serial", "--tag=a=b c",
    ]  # fmt: skip
    with pytest.raises(AllocationError, match=r"3 \+ 1 = 4 nodes, but only 3 are here"):
        slices(parts, 3)


def shares(limit: int, *parts: str) -> list[int]:
    """What each part has of a limit, by the options that its launcher gets."""
    made = slices(list(map(part_of, parts)), 100)
    given = dict(word.removeprefix("--").split("=") for word in together(made))
    return [
        share(
            limit,
            one.part.nodes,
            LauncherOptions(
                job_mode=one.part.job_mode,
                in_partition=int(given["in-partition"]),
                serial_parts=int(given["serial-parts"]),
            ),
        )
        for one in made
    ]


@pytest.mark.parametrize(
    ("limit", "parts", "expected"),
    [
        (0, ["mpi:2", "serial:2"], [0, 0]),
        (1000, ["mpi:4", "auto:12"], [250, 750]),
        (5, ["mpi:1", "auto:1"], [2, 2]),
        (3, ["mpi:1", "mpi:15"], [1, 2]),
        (7, ["mpi:4"], [7]),
        # Serial parts start no mpirun for a job, however many nodes they have.
        (1000, ["mpi:1", "serial:9"], [980, 20]),
        (1000, ["mpi:1", "serial:9", "auto:3", "serial:1"], [240, 20, 720, 20]),
        (1000, ["serial:1", "serial:2"], [20, 20]),
        # Nor do they take much of what others need.
        (30, ["mpi:9", "serial:1"], [27, 3]),
        (9, ["mpi:1", "serial:9"], [8, 1]),
        (7, ["serial:9"], [7]),
        (1, ["mpi:1", "serial:9", "serial:1"], [1, 1, 1]),
    ],
)
def test_a_part_has_its_share_of_a_limit(limit: int, parts: list[str], expected: list[int]) -> None:
    assert shares(limit, *parts) == expected


def test_a_launcher_that_is_no_part_has_all_of_a_limit() -> None:
    assert share(9, 2, LauncherOptions()) == share(9, 2, LauncherOptions(job_mode=SERIAL)) == 9


def test_options_that_make_no_sense() -> None:
    with pytest.raises(InvalidValue, match="offset_nodes"):
        LauncherOptions(offset_nodes=-1)
    with pytest.raises(InvalidValue, match="limit_nodes is at least 1"):
        LauncherOptions(limit_nodes=0)


#: A balsam that says what it was told, and stops when asked to as its part says.
FAKE = """
import os, signal, sys

def main():
    words = sys.argv[2:]
    print("words", *words, flush=True)
    if "--job-mode=mpi" in words:
        sys.exit(3)
    if "--limit-nodes=9" in words:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(4))
        print("ready", flush=True)
        signal.pause()
    print("no newline", end="", flush=True)
    if "--limit-nodes=7" in words:
        os.kill(os.getpid(), signal.SIGKILL)
"""
#: Run with the folder of that balsam and the parts.
RUN = """
import sys
from balsam.launcher.partition import Partition, part_of, slices
made = slices(list(map(part_of, sys.argv[2:])), 100)
sys.path.insert(0, sys.argv[1])
sys.exit(Partition(made, ["--consume-all"], lambda line: print(line, flush=True)).run())
"""


def partition(tmp_path: Path, *parts: str) -> subprocess.Popen[str]:
    (tmp_path / "balsam").mkdir()
    (tmp_path / "balsam" / "__init__.py").touch()
    (tmp_path / "balsam" / "cli.py").write_text(FAKE)
    script = f"import sys; sys.path[:] = [{str(ROOT)!r}, *sys.path[1:]]\n{RUN}"
    environ = {**os.environ, "PYTHONPATH": ""}
    return subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path), *parts],
        env=environ,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_all_are_started_and_the_worst_code_counts(tmp_path: Path) -> None:
    process = partition(tmp_path, "serial:2:a=b", "mpi:3", "auto:1")
    out, _ = process.communicate(timeout=60)
    assert sorted(out.splitlines()) == [
        "[auto 5] no newline",
        "[auto 5] words --consume-all --offset-nodes=5 --limit-nodes=1",
        "[mpi 2-4] words --consume-all --offset-nodes=2 --limit-nodes=3 --job-mode=mpi",
        "[serial 0-1] no newline",
        "[serial 0-1] words --consume-all --offset-nodes=0 --limit-nodes=2 --job-mode=serial "
        "--tag=a=b",
    ]
    assert process.returncode == 3


def test_a_part_that_a_signal_ended(tmp_path: Path) -> None:
    process = partition(tmp_path, "serial:7", "mpi:3")
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGKILL


def test_what_asks_to_stop_is_passed_on(tmp_path: Path) -> None:
    process = partition(tmp_path, "serial:9", "auto:9")
    assert process.stdout is not None
    lines: list[str] = []
    deadline = time.monotonic() + 60
    while sum("ready" in line for line in lines) < 2 and time.monotonic() < deadline:
        lines.append(process.stdout.readline())
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 4, lines
