"""The tasks of one node, as real processes: chains, stops, refusals."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from balsam import states
from balsam.launcher.ensemble import wire
from balsam.launcher.ensemble.nodetasks import (
    ASKED,
    ENDED,
    MISLAID,
    REFUSED,
    RUN_MARK,
    STARTED,
    STRUCK,
    NodeTasks,
)
from balsam.launcher.ensemble.strays import KEEPER_MARK, end_strays
from balsam.platform import affinity, evidence, process
from balsam.platform.process import RunSpec

#: Tells of its CPUs, and stays until they have been looked at.
ALLOWED = "grep Cpus_allowed_list /proc/self/status; exec sleep 1"


class Node:
    """Tasks in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.tasks = NodeTasks(f"test-{directory}-{os.getpid()}")
        self.told: list[list[Any]] = []

    def start(self, token: str, script: str, after: str = "", cpus: tuple[int, ...] = ()) -> None:
        env = {"PATH": os.environ["PATH"], RUN_MARK: f"{self.directory}:{token}"}
        words, place = ["/bin/sh", "-c", script], str(self.directory)
        spec = RunSpec(words, place, env, self.output(token), cpus=cpus)
        self.tasks.obey(["start", token, after, wire.pack(spec, {})])

    def output(self, token: str) -> str:
        return str(self.directory / f"{token}.out")

    def allowed(self, token: str) -> frozenset[int]:
        """What a task has told of its CPUs."""
        return affinity.parsed(Path(self.output(token)).read_text().split()[-1])

    def go_on(self) -> None:
        self.tasks.reap()
        self.tasks.timers()
        self.told += self.tasks.news
        self.tasks.news = []

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, self.told
            self.go_on()
            time.sleep(0.005)

    def until_all_ended(self) -> None:
        self.until(lambda: not len(self.tasks))

    def order(self) -> list[tuple[str, str]]:
        return [(kind, token) for kind, token, *_ in self.told]

    def about(self, token: str) -> list[Any]:
        return next(message for message in reversed(self.told) if message[1] == token)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    before = os.getcwd()
    made = Node(tmp_path)
    yield made
    made.tasks.kill_all()
    made.until_all_ended()
    os.chdir(before)


def test_a_chain_goes_on_after_success_failure_and_refusal(node: Node) -> None:
    node.start("1:1", "sleep 0.05")
    node.start("2:1", "echo oh; exit 3", after="1:1")
    node.start("3:1", "true", after="2:1")
    node.start("4:1", "true", after="9:9")
    node.go_on()
    assert node.order()[0] == (STARTED, "1:1")
    node.until(lambda: (ENDED, "3:1") in node.order())
    order = [entry for entry in node.order() if entry[1] != "4:1"]
    assert order == [(kind, f"{n}:1") for n in (1, 2, 3) for kind in (STARTED, ENDED)]
    _, _, end, wall, oom, tail, _, stopped = node.about("2:1")
    assert (end["returncode"], oom, tail, stopped) == (3, False, "oh", "")
    assert 0 < wall < 20
    assert node.about("4:1")[0] == ENDED


def test_what_follows_a_refused_one_begins(node: Node) -> None:
    node.start("1:1", "sleep 0.05")
    spec = RunSpec(["/no/such/program"], str(node.directory), {}, node.output("2:1"))
    node.tasks.obey(["start", "2:1", "1:1", wire.pack(spec, {})])
    node.start("3:1", "true", after="2:1")
    node.until(lambda: (ENDED, "3:1") in node.order())
    kind, _, cause, words, shortage, full = node.about("2:1")
    assert (kind, cause, shortage) == (REFUSED, states.PROGRAM_MISSING, False)
    assert "/no/such/program" in words


def test_an_output_for_which_there_is_no_space_is_told_apart(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def no_space(path: Any, *rest: Any, **named: Any) -> int:
        if path == node.output("1:1"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, *rest, **named)

    monkeypatch.setattr(os, "open", no_space)
    node.start("1:1", "true")
    node.until(lambda: (REFUSED, "1:1") in node.order())
    _, _, cause, words, short, full = node.about("1:1")
    assert (cause, short, full) == (states.STAGING, False, True) and "No space left" in words


def test_a_withdrawn_one_leaves_the_chain_whole(node: Node) -> None:
    node.start("1:1", "echo up; exec sleep 600")
    for number in (2, 3, 4):
        node.start(f"{number}:1", "true", after=f"{number - 1}:1")
    # A shell that is only beginning may not die of its signal.
    node.until(lambda: Path(node.output("1:1")).read_text())
    node.tasks.obey(["stop", "3:1", 1.0])
    node.tasks.obey(["stop", "2:1", 1.0])
    node.go_on()
    assert node.order() == [(STARTED, "1:1"), (REFUSED, "3:1"), (REFUSED, "2:1")]
    assert node.about("2:1")[2] == ""
    node.tasks.obey(["signal", "1:1", signal.SIGINT])
    node.until(lambda: (ENDED, "4:1") in node.order())
    assert node.order()[3:] == [(ENDED, "1:1"), (STARTED, "4:1"), (ENDED, "4:1")]
    assert node.about("1:1")[2]["signal"] == signal.SIGINT


def test_only_what_has_not_begun_is_taken_back(node: Node) -> None:
    node.start("1:1", "echo up; exec sleep 600")
    node.start("2:1", "true", after="1:1")
    node.until(lambda: Path(node.output("1:1")).read_text())
    for token in ("1:1", "2:1", "3:1"):
        node.tasks.obey(["withdraw", token])
    node.go_on()
    assert node.order() == [(STARTED, "1:1"), (REFUSED, "2:1")]
    node.tasks.obey(["signal", "1:1", signal.SIGINT])
    node.until_all_ended()
    assert node.about("1:1")[-1] == "", "nobody has stopped it"


def test_a_stop_after_the_end_changes_nothing(node: Node) -> None:
    node.start("1:1", "exit 0")
    pid = next(iter(node.tasks._by_pid))
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    node.tasks.obey(["stop", "1:1", 1.0])
    node.until_all_ended()
    assert node.about("1:1")[-1] == ""
    node.tasks.obey(["stop", "1:1", 1.0])
    node.tasks.obey(["signal", "8:8", 9])


def test_force_after_the_grace_reaches_what_left_the_group(node: Node) -> None:
    node.start("1:1", 'trap "" TERM; setsid sleep 600 & echo on; while :; do sleep 0.05; done')
    node.until(lambda: Path(node.output("1:1")).read_text())
    node.tasks.obey(["stop", "1:1", 600.0])
    node.tasks.obey(["stop", "1:1", 0.1])
    node.until_all_ended()
    assert node.about("1:1")[2]["signal"] == signal.SIGKILL
    assert node.about("1:1")[-1] == ASKED
    node.until(lambda: not process.marked_processes(KEEPER_MARK, node.tasks.mark))


def test_when_all_is_stopped_nothing_begins(node: Node) -> None:
    node.start("1:1", "sleep 600")
    node.start("2:1", "true", after="1:1")
    node.tasks.stop_all(5.0, states.BATCH_TIME_LIMIT)
    node.start("3:1", "true")
    node.until_all_ended()
    node.go_on()
    assert node.order() == [(STARTED, "1:1"), (REFUSED, "2:1"), (REFUSED, "3:1"), (ENDED, "1:1")]
    assert node.about("1:1")[-1] == states.BATCH_TIME_LIMIT


def test_whoever_ended_by_a_term_of_somebody_else_may_have_been_the_first_of_all(
    node: Node,
) -> None:
    node.start("1:1", "kill -TERM $$")
    node.until(lambda: not node.tasks._by_pid)
    node.go_on()
    assert (ENDED, "1:1") not in node.order()
    node.tasks.stop_all(5.0, states.BATCH_TIME_LIMIT)
    node.go_on()
    assert node.about("1:1")[-1] == states.BATCH_TIME_LIMIT


def test_a_term_of_its_own_is_told_after_a_moment(node: Node) -> None:
    node.start("1:1", "kill -TERM $$")
    node.until(lambda: (ENDED, "1:1") in node.order())
    assert node.about("1:1")[2]["signal"] == signal.SIGTERM
    assert node.about("1:1")[-1] == ""


def test_a_task_for_cpus_that_a_node_lacks_is_not_confined(node: Node) -> None:
    ours = os.sched_getaffinity(0)
    node.tasks.cpus = range(100_000, 100_001 + len(ours))
    node.start("1:1", ALLOWED, cpus=(100_000,))
    node.until_all_ended()
    assert node.about("1:1")[-2] == (
        f"It was to be confined to the CPUs 100000, but may use {affinity.spelled(ours)}."
    )
    assert node.allowed("1:1") == ours
    assert os.sched_getaffinity(0) == ours


def test_cpus_of_other_numbers_go_by_their_order(node: Node) -> None:
    """A batch job may have 8-15 of the launcher's node, and others of this one."""
    ours = sorted(os.sched_getaffinity(0))
    node.tasks.cpus = [cpu + 100_000 for cpu in ours]
    for place, cpu in enumerate(ours[:2]):
        node.start(f"{place}:1", ALLOWED, cpus=(cpu + 100_000,))
    node.until_all_ended()
    for place, cpu in enumerate(ours[:2]):
        assert node.allowed(f"{place}:1") == {cpu}
        assert node.about(f"{place}:1")[-2:] == ["", ""], "nothing is wrong with it"


def test_ranks_of_an_mpirun_are_looked_at_here(node: Node) -> None:
    """They are no tasks of this node: the launcher has started them."""
    away = max(os.sched_getaffinity(0)) + 1
    mark = f"{node.directory}:rank"
    rank = subprocess.Popen(["/bin/sleep", "600"], env={RUN_MARK: mark, "SLURM_PROCID": "3"})
    try:
        node.tasks.obey(["check", "1:1", [mark, "SLURM_PROCID", 1, [away], 1]])
        assert node.tasks.deadline is not None
        node.until(lambda: node.told)
    finally:
        rank.kill()
        rank.wait()
    assert node.tasks.deadline is None
    [(kind, token, note)] = node.told
    assert (kind, token) == (MISLAID, "1:1")
    assert note.startswith(f"It was to be confined to the CPUs {away}, but may use ")


def test_whether_memory_ran_out_is_answered(node: Node, tmp_path: Path) -> None:
    counter = tmp_path / "vmstat"
    counter.write_text("oom_kill 4\n")
    node.tasks._oom = evidence.OomWatch([counter])
    node.tasks.obey(["ask_memory", "1:1", 60.0, 4])
    node.go_on()
    counter.write_text("oom_kill 9\n")
    node.tasks.obey(["ask_memory", "2:1", 60.0, 4])
    assert not node.tasks.news, "tasks of the node come first"
    node.go_on()
    node.tasks.obey(["ask_memory", "3:1", 60.0, 4])
    node.tasks.obey(["ask_memory", "4:1", 60.0, 1])
    node.go_on()
    answers = [[STRUCK, f"{job}:1", job in (2, 3)] for job in (1, 2, 3, 4)]
    assert node.told == answers, "as many kills as there were ranks"


def test_strays_of_an_earlier_keeper_are_ended(node: Node) -> None:
    node.start("1:1", "setsid sleep 600 & sleep 600")
    mark = node.tasks.mark
    node.until(lambda: len(process.marked_processes(KEEPER_MARK, mark)) >= 2)
    assert end_strays(mark) >= 2
    assert not process.marked_processes(KEEPER_MARK, mark)
    node.until_all_ended()


def test_a_memory_kill_of_long_ago_explains_nothing(node: Node, tmp_path: Path) -> None:
    """Also where there is always something running."""
    counter = tmp_path / "vmstat"
    counter.write_text("oom_kill 1\n")
    node.tasks._oom = evidence.OomWatch([counter], tmp_path / "none")
    node.start("1:1", "sleep 600")
    node.start("2:1", "sleep 600")
    counter.write_text("oom_kill 2\n")
    for _ in range(2):
        node.tasks.watch_memory()
    [one, two] = node.tasks._by_pid
    process.signal_group(one, signal.SIGKILL)
    node.until(lambda: len(node.tasks) == 1)
    assert not node.about("1:1")[4]
    counter.write_text("oom_kill 3\n")
    node.tasks.watch_memory()
    process.signal_group(two, signal.SIGKILL)
    node.until_all_ended()
    assert node.about("2:1")[4], "a look at the counters came between"
