"""Attempts on nodes that answer as a test says: what is kept of each, and what is refused."""

from __future__ import annotations

import itertools
import time
import tracemalloc
import uuid
from dataclasses import replace
from typing import Any

import pytest

from balsam import states
from balsam.core.lease import RUN_COLUMNS
from balsam.launcher import far, shortages
from balsam.launcher.ensemble.protocol import Ended, Refused, Started
from balsam.launcher.entries import End, Start
from balsam.launcher.far import Far, Returned
from balsam.launcher.node_pool import NodePool
from balsam.launcher.tasks import Task, from_row
from balsam.platform.process import Exit, RunSpec
from balsam.platform.shape import uniform

HOUR = 3600.0
SPEC = RunSpec((), "", {}, "")
#: Of an attempt in progress, with its task and its placement; it was 2,423 with a deque for each.
MOST_BYTES = 1400


class Hands:
    """Nodes that do what a test says."""

    def __init__(self, *ready: str) -> None:
        self.ready_nodes = frozenset(ready)
        self.deadline = None
        self.events: list[Any] = []
        self.asked = 0
        self.withdrawn: list[str] = []

    def start(self, *given: Any) -> None:
        self.asked += 1

    def stop(self, token: str, grace_seconds: float) -> None:
        pass

    def withdraw(self, token: str) -> None:
        self.withdrawn.append(token)

    def poll(self) -> list[Any]:
        events, self.events = self.events, []
        return events


def task(number: int, app: int = 1) -> Task:
    given = dict.fromkeys(RUN_COLUMNS, "") | {
        "id": number, "job_id": uuid.uuid4().hex, "workflow": "".join(("some ", "workflow")),
        "name": f"task-{number}", "state": "".join(("PREPRO", "CESSED")), "attempt": 0,
        "lost_attempts": 0, "app_id": app, "args": f"--number {number}", "environ_vars": "{}",
        "num_nodes": 1, "ranks_per_node": 1, "threads_per_rank": 1, "threads_per_core": 1,
        "node_packing_count": 1, "gpus_per_rank": 0.0, "wall_time_minutes": 1,
        "time_limit_minutes": 0.0, "workdir": f"some/task-{number}", "launch_params": "{}",
        "cpu_affinity": "none", "signal_before_min": 0.0,
    }  # fmt: skip
    return from_row([given[name] for name in RUN_COLUMNS], (), 60.0)


def test_little_is_kept_of_each_of_half_a_million_attempts() -> None:
    number = 2048
    pool = NodePool([f"n{node}" for node in range(number // 64)], uniform(64))
    sent = Far(Hands(), pool)  # type: ignore[arg-type]
    running = {}
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for job in range(10**6, 10**6 + number):
            new = task(job)
            placement = pool.place(new.request, new.seconds, 0.0)
            assert placement
            run = running[job] = sent.send(new, placement, SPEC)
            run.begun(job, 1e9 + job)
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert used / number < MOST_BYTES


class Node:
    """One node, on which a clock of its own says what is due."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cores: int = 2) -> None:
        self.now = 100.0
        monkeypatch.setattr(shortages.time, "monotonic", lambda: self.now)
        self.hands = Hands("n")
        self.pool = NodePool(("n",), uniform(cores))
        self.far = Far(self.hands, self.pool)  # type: ignore[arg-type]

    def send(self, job: int, app: int = 1) -> bool:
        new = task(job, app)
        placement = self.pool.place(new.request)
        if placement is None:
            return False
        self.far.send(new, placement, SPEC)
        return True

    def follow(self, job: int, app: int = 1) -> int | None:
        """Send a task ahead; whom it follows."""
        new = task(job, app)
        before = self.far.predecessor(new)
        if before is None:
            return None
        self.far.follow(new, before, SPEC)
        return before.task.id

    def quick(self, app: int = 1) -> None:
        """Let many tasks of an application have ended at once."""
        self.far._kind(task(0, app)).mean = 0.01

    def hear(self, *events: Any) -> list[Any]:
        self.hands.events += events
        return [entry for _, entry in self.far.hear()]  # type: ignore[misc]


def refused(job: int) -> Refused:
    return Refused(f"{job}:1", states.STAGING, "no process", shortage=True)


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(monkeypatch)


def test_nobody_is_sent_where_a_process_is_lacking_until_one_has_ended(node: Node) -> None:
    assert node.send(1) and node.send(2)
    [begun, returned] = node.hear(Started("1:1", 17, 1e9), refused(2))
    assert isinstance(begun, Start) and isinstance(returned, Returned) and not returned.cause
    assert not node.send(2), "it would be refused again, as fast as messages go"
    [end] = node.hear(Ended("1:1", Exit(17, 0, 0, 0.0, 0), 1.0))
    assert isinstance(end, End)
    assert node.send(2) and node.send(3)


def test_where_nothing_ends_it_is_tried_ever_more_seldom(node: Node) -> None:
    tries = []
    assert node.send(1)
    while len(tries) < 9:
        entries = node.hear(refused(1))
        tries.append(node.now)
        if isinstance(entries[0], End):
            break
        # The other core is not short of anything, as far as anybody knows.
        other = node.pool.place(task(9).request)
        assert not node.send(1)
        assert node.far.deadline is not None and node.far.deadline > node.now
        node.now = node.far.deadline
        node.hear()
        if other:
            node.pool.give_back(other)
        while not node.send(1):
            assert node.far.deadline is not None
            node.now = node.far.deadline
            node.hear()
    pauses = [round(after - before) for before, after in zip(tries, tries[1:], strict=False)]
    assert pauses == sorted(pauses) and pauses[-1] >= 32
    assert node.now - tries[0] < 2 * shortages.PATIENCE_SECONDS


CORES = 64


class Short(Node):
    """A node where one task runs for long, and all others have been refused for some minutes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch, CORES)
        self.jobs = itertools.count(1)
        first, *others = self.send_all()
        self.hear(started(first), *map(refused, others))
        give_up = self.now + shortages.PATIENCE_SECONDS
        while self.now < give_up:
            self.hear(*map(refused, self.wait()))

    def send_all(self) -> list[int]:
        """Send as many as there is room for."""
        return list(itertools.takewhile(self.send, self.jobs))

    def wait(self) -> list[int]:
        """Send what there is room for when something is tried again."""
        sent: list[int] = []
        while not sent:
            assert self.far.deadline is not None and self.far.deadline > self.now
            self.now = self.far.deadline
            self.hear()
            sent = self.send_all()
        return sent


def test_once_there_is_room_again_all_is_soon_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one core a minute: what runs there may take for hours, so that nothing ends."""
    node = Short(monkeypatch)
    sent = [node.wait()]
    while sent[-1]:
        node.hear(*map(started, sent[-1]))
        sent.append(node.send_all())
    assert [len(jobs) for jobs in sent] == [1, 2, 4, 8, 16, 32, 0]
    assert not node.pool.idle_cores and node.far.deadline is None


def test_a_new_shortage_ends_that(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Short(monkeypatch)
    node.hear(*map(started, node.wait()))
    node.hear(*map(started, node.send_all()))
    begun, *others = node.send_all()
    node.hear(refused(others[0]), started(begun), *map(refused, others[1:]))
    assert node.send_all() == [], "who began meanwhile tells nothing"
    pauses = []
    for _ in range(8):
        before = node.now
        sent = node.wait()
        assert len(sent) == 1
        node.hear(*map(refused, sent))
        pauses.append(node.now - before)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_task_that_never_finds_room_fails(node: Node) -> None:
    for number in range(shortages.TRIES):
        assert node.send(1)
        [entry] = node.hear(refused(1))
        last = number == shortages.TRIES - 1
        assert isinstance(entry, End if last else Returned)
        node.now += shortages.PATIENCE_SECONDS
        node.hear()
    assert entry.outcome.state == states.FAILED
    assert entry.outcome.data["cause"] == states.STAGING


def test_a_full_disk_is_no_fault_of_the_node(node: Node) -> None:
    full = Refused("1:1", states.STAGING, "There is no space.", full=True)
    assert node.send(1) and node.send(2) and not node.send(3)
    [back] = node.hear(full)
    assert isinstance(back, Returned) and back.full == "There is no space."
    assert node.send(3), "its share is free at once"
    [back] = node.hear(Refused("2:1", states.STAGING, "There is no directory."))
    assert isinstance(back, End)
    own = replace(task(1), user_workdir="/its/own")
    placement = node.pool.place(own.request)
    assert placement
    node.far.send(own, placement, SPEC)
    [end] = node.hear(full)
    assert isinstance(end, End) and end.outcome.data["cause"] == states.STAGING


def test_what_is_given_up_is_looked_for_only_when_others_answer(node: Node) -> None:
    assert node.send(1) and node.send(2)
    for run in node.far._runs.values():
        run.stop(states.BATCH_TIME_LIMIT, 0.0)
    assert not list(node.far.give_up())
    node.far._runs = _Unread(node.far._runs)
    assert not list(node.far.give_up()), "nothing has changed"
    node.far._runs = dict(node.far._runs)
    node.hands.ready_nodes = frozenset()
    assert len(list(node.far.give_up())) == 2


def started(job: int) -> Started:
    return Started(f"{job}:1", 1000 + job, 1e9)


def termed(job: int) -> Ended:
    end = Exit(1000 + job, 143, 15, 0.0, 0)
    return Ended(f"{job}:1", end, 1.0, stopped=states.BATCH_TIME_LIMIT)


@pytest.mark.parametrize(
    ("nodes", "pause", "expected"),
    [(3, 1.0, [False, True]), (3, 60.0, [False, False]), (1, 60.0, [True, True])],
)
def test_one_node_that_gets_a_term_is_not_the_end_of_all(
    monkeypatch: pytest.MonkeyPatch, nodes: int, pause: float, expected: list[bool]
) -> None:
    """It may be shut down, or a task ends all that is its user's there."""
    names = [f"n{number}" for number in range(nodes)]
    pool, hands = NodePool(names, uniform(2)), Hands(*names)
    sent = Far(hands, pool)  # type: ignore[arg-type]
    where = {}
    for job in range(2 * nodes):
        placement = pool.place(task(job).request)
        assert placement
        where.setdefault(placement.nodes[0], []).append(job)
        sent.send(task(job), placement, SPEC)
    hands.events += [started(job) for job in range(2 * nodes)]
    list(sent.hear())
    moment = time.monotonic()
    found = []
    for number, jobs in enumerate([list(where.values())[0], list(where.values())[-1]]):
        monkeypatch.setattr(far.time, "monotonic", lambda n=number: moment + n * pause)
        hands.events += [termed(job) for job in jobs]
        list(sent.hear())
        found.append(sent.terminated)
    assert found == expected


@pytest.mark.parametrize("code", [0, 3])
def test_where_all_fails_at_once_nothing_is_sent_ahead(node: Node, code: int) -> None:
    """On a bad node that would be thousands of jobs."""
    for job in range(40):
        assert node.send(job)
        node.hear(started(job), Ended(f"{job}:1", Exit(1000 + job, code, 0, 0.0, 0), 0.01))
    assert (node.far._kind(task(0, 1)).ahead() > 0) == (code == 0)


def test_only_what_follows_others_of_its_application_soon_is_sent_ahead(node: Node) -> None:
    assert node.send(1, app=1) and node.send(2, app=2)
    node.hear(started(1), started(2))
    assert node.follow(3, app=1) is None, "nobody knows how long they take"
    node.quick(app=1)
    assert node.follow(3, app=1) == 1 and node.follow(4, app=1) == 3
    assert node.follow(5, app=2) is None


def test_nobody_is_sent_behind_one_that_takes_longer_than_others(node: Node) -> None:
    assert node.send(1) and node.send(2)
    node.quick()
    node.hear(started(1))
    node.now += far.SHORT_SECONDS
    node.hear(started(2))
    assert [node.follow(job) for job in (3, 4)] == [2, 3]
    node.hear(Ended("2:1", Exit(1, 0, 0, 0.0, 0), 0.01), started(3))
    assert node.follow(5) == 4 and node.far.room() > 0
    node.now += far.SHORT_SECONDS
    assert node.follow(6) is None and not node.far.room()


def test_what_waits_for_too_long_on_its_node_is_asked_back(node: Node) -> None:
    assert node.send(1)
    node.hear(started(1))
    node.quick()
    assert node.follow(2) == 1 and node.follow(3) == 2
    assert node.far.deadline == node.now + far.SHORT_SECONDS
    node.now += far.SHORT_SECONDS
    node.hear(started(2))
    assert node.hands.withdrawn == ["3:1"], "the other has begun"
    assert node.follow(4) is None, "it would begin at once, beside the one that runs"
    [back] = node.hear(Refused("3:1", "", "It was stopped before it began."))
    assert isinstance(back, Returned) and not back.cause
    assert node.far.deadline is None


def test_times_are_in_order_whatever_the_clock_of_the_node(node: Node) -> None:
    begin = time.time()
    assert node.send(1) and node.send(2)
    [late] = node.hear(Started("1:1", 17, begin + HOUR))
    [early] = node.hear(Started("2:1", 18, begin - HOUR))
    ends = node.hear(
        Ended("1:1", Exit(17, 0, 0, 0.0, 0, time=begin + HOUR), 1.0),
        Ended("2:1", Exit(18, 0, 0, 0.0, 0, time=begin - HOUR), 1.0),
    )
    for start, end in zip((late, early), ends, strict=True):
        assert begin <= start.time <= end.time <= time.time()


@pytest.mark.parametrize("why", ["stopping", "resting", "gone"])
def test_nobody_is_sent_behind_one_that_is_stopped_or_on_a_node_that_gives_nothing(
    node: Node, why: str
) -> None:
    assert node.send(1)
    node.hear(started(1))
    node.quick()
    if why == "stopping":
        node.far._runs[1].stop(states.KILLED, 1.0)
    elif why == "resting":
        node.pool.rest("n")
    else:
        node.pool.remove("n")
    assert node.follow(2) is None and not node.far.room()


class _Unread(dict[int, far.FarRun]):
    def values(self) -> Any:
        raise AssertionError("all attempts were looked at")
