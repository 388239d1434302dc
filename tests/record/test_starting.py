"""Starting over many nodes, with the passing of time simulated: order, reservation, time left."""

from __future__ import annotations

import errno
import heapq
import os
import time
from dataclasses import replace
from datetime import timedelta
from math import inf
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from balsam import states
from balsam.core import history, lease, sessions
from balsam.core.lease import Scope
from balsam.core.models import BalsamJob
from balsam.core.queue import WIDE_FIRST
from balsam.errors import LaunchError, MpiUnavailable, ServerStopped
from balsam.launcher import starting
from balsam.launcher.attempts import Attempts
from balsam.launcher.dag import add_dependency
from balsam.launcher.entries import End
from balsam.launcher.ledger import Ledger
from balsam.launcher.node_pool import NodePool, Placement, Request, slots
from balsam.launcher.progress import Progress
from balsam.launcher.source import Past, Source
from balsam.launcher.starting import KEPT, Starter
from balsam.launcher.tasks import Application, Task
from balsam.platform.shape import uniform

PATIENCE_SECONDS = 60.0
WHOLE = {"whole_nodes": True}
pytestmark = pytest.mark.usefixtures("project")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, no look at the database counts as a long one."""
    monkeypatch.setattr("balsam.launcher.source.SLOW_SECONDS", inf)


class Machine:
    """Nodes on which tasks take as long as they said, in a time of its own."""

    def __init__(self, number: int, cores: int, gpus: int = 0) -> None:
        shape = replace(uniform(cores), gpus=tuple(str(gpu) for gpu in range(gpus)))
        self.nodes = NodePool([f"n{index}" for index in range(number)], shape)
        self.now = 0.0
        self.recent: list[Task] = []
        self.started: dict[int, float] = {}
        self.running: list[tuple[float, int, Placement]] = []
        #: What is asked of mpiruns is asked here, too.
        self.mpiruns = self

    def room(self) -> int:
        return slots(self.nodes, [task.request for task in self.recent[-16:]])

    def start(self, task: Task, app: Application) -> Any:
        self.nodes.check(task.request)
        placement = self.nodes.place(task.request, task.seconds, self.now)
        if placement is None:
            return None
        self.recent.append(task)
        self.started[task.id] = self.now
        end = self.now + task.wall_time_minutes * 60
        heapq.heappush(self.running, (end, task.id, placement))
        return task.id

    def pass_on(self) -> None:
        """Go to the next end of a task."""
        self.now = self.running[0][0]
        while self.running and self.running[0][0] <= self.now:
            self.nodes.give_back(heapq.heappop(self.running)[2])

    def prepare(self, task: Task, app: Application) -> None:
        """There is nothing to prepare."""

    def settle(self) -> None:
        """Nor to tidy up."""

    def needed(self, task: Task) -> bool:
        return False

    def awaited(self, task: Task) -> bool:
        return False


class Started(list[Any]):
    """Takes down what was started."""

    def add(self, entry: Any) -> None:
        self.append(entry)

    is_full = False

    def __len__(self) -> int:
        return 0  # all is committed at once


def starter_on(machine: Machine, sort_by: str = WIDE_FIRST, leave_large: bool = False) -> Starter:
    life = sessions.Life("launcher", "h", "m", 1, 1)
    session = sessions.open_session(life)
    source = Source(session, Scope(), 10, machine.nodes, sort_by=sort_by, leave_large=leave_large)
    source.begin()
    return Starter(
        source,
        cast(Attempts, machine),
        cast(Ledger, Started()),
        Progress(Scope(), None),
        lambda words: None,
        lambda: False,
        clock=lambda: machine.now,
    )


def runnable(*shapes: dict[str, Any]) -> list[int]:
    jobs = BalsamJob.objects.bulk_create(
        [BalsamJob(**{"wall_time_minutes": 2, **shape}) for shape in shapes]
    )
    keys = [job.pk for job in jobs]
    BalsamJob.objects.filter(pk__in=keys).update(state=states.PREPROCESSED)
    return keys


def run_all(machine: Machine, starter: Starter) -> None:
    source = starter.source
    starter.start()
    give_up = time.monotonic() + PATIENCE_SECONDS
    while machine.running or source.dirty:
        assert time.monotonic() < give_up, "in vain"
        if machine.running:
            machine.pass_on()
            source.dirty = True  # as the end of a task has it
        starter.start()


def leases_of(starter: Starter, starts: int) -> int:
    """How often something is asked for in so many turns."""
    leases = []
    real = lease.lease_runnable
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lease, "lease_runnable", lambda *a, **k: leases.append(k) or real(*a, **k))
        for _ in range(starts):
            starter.start()
    return len(leases)


@pytest.mark.parametrize("jobs", [200, 300])
def test_all_nodes_have_something_to_do_at_once_if_there_is_enough(
    monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    """Where fewer wait than there is room for, nodes stay idle for wide jobs."""
    monkeypatch.setattr(starting, "MOST", 100)
    machine = Machine(32, 8)
    starter = starter_on(machine)
    runnable(*[{}] * jobs)
    starter.start()
    hosts = [placement.nodes for _, _, placement in machine.running]
    assert len(hosts) == min(jobs, 256)
    assert len(set(hosts)) == (32 if jobs > 256 else 25)
    assert len(set(hosts[:32])) == (32 if jobs > 256 else 4)


def test_what_waits_for_others_or_wants_many_nodes_fills_no_nodes() -> None:
    first, *_ = runnable({}, {"num_nodes": 2}, {}, {}, {})
    BalsamJob.objects.filter(pk=first).update(not_before=history.now() + timedelta(hours=1))
    created = [BalsamJob(name=name) for name in "ab"]
    for job in created:
        job.save()
    assert (lease.waiting(Scope(), 9), lease.waiting(Scope(), 2)) == (5, 2)
    add_dependency(*created)
    assert lease.waiting(Scope(), 9) == 3


def test_many_wide_jobs_keep_no_narrow_one_from_idle_nodes() -> None:
    machine = Machine(8, 4)
    starter = starter_on(machine)
    wide = runnable(*[{"num_nodes": 5, "wall_time_minutes": 60}] * 70)
    narrow = runnable(*[{"wall_time_minutes": 5, "launch_params": WHOLE}] * 40)
    for _ in range(20):
        starter.source.dirty = True  # as at each commit
        starter.start()
    assert len(machine.started.keys() & set(wide)) == 1
    assert len(machine.started.keys() & set(narrow)) == 3


@pytest.mark.parametrize(
    ("shape", "number"),
    [({"gpus_per_rank": 1.0}, 8), ({"threads_per_rank": 5}, 2), ({"launch_params": WHOLE}, 2)],
)
def test_no_number_of_jobs_that_wait_for_a_share_keeps_others_from_idle_cores(
    shape: dict[str, Any], number: int
) -> None:
    machine = Machine(2, 8, gpus=4)
    if "launch_params" in shape:
        runnable(*[{"threads_per_rank": 5, "wall_time_minutes": 90}] * 2)
        number = 0
    starter = starter_on(machine)
    starter.start()
    idle = int(machine.nodes.idle_cores)
    large = runnable(*[{**shape, "wall_time_minutes": 60}] * 70)
    small = runnable(*[{"wall_time_minutes": 5, "priority": -1}] * 70)
    starter.source.dirty = True
    starter.start()
    assert len(machine.started.keys() & set(large)) == number
    used = number * shape.get("threads_per_rank", 1)
    # A node is kept for the head, but for what it can do without there.
    assert len(machine.started.keys() & set(small)) >= (idle - used) / 2
    [urgent] = runnable({"wall_time_minutes": 5, "priority": 9})
    for _ in range(8):  # it goes behind what is leased already
        machine.pass_on()
        starter.source.dirty = True
        starter.start()
    assert urgent in machine.started
    assert len(starter.source.stock) <= 2 * KEPT
    run_all(machine, starter)
    assert {*large, *small, urgent} <= set(machine.started)


def test_jobs_without_gpus_use_the_only_node_while_others_wait_for_its_gpu() -> None:
    machine = Machine(1, 8, gpus=1)
    with_gpu = runnable(*[{"gpus_per_rank": 1.0, "threads_per_rank": 2, "priority": 1}] * 20)
    without = runnable(*[{"wall_time_minutes": 40}] * 20)
    starter = starter_on(machine)
    starter.start()
    assert set(machine.started) == {with_gpu[0], *without[:4]}, "two are for the next of the others"
    run_all(machine, starter)
    assert [machine.started[key] for key in with_gpu] == [120 * n for n in range(20)]
    assert max(machine.started[key] for key in without) < 40 * 60 * 5


def test_what_is_leased_past_the_head_in_vain_is_not_asked_for_again_and_again() -> None:
    """There is half a core on each of two nodes, and one that asks for two halves."""
    machine = Machine(1, 2)
    runnable({"node_packing_count": 4}, {"node_packing_count": 4, "priority": 1})
    starter = starter_on(machine)
    starter.start()
    runnable({"threads_per_rank": 2, "priority": 1}, *[{"threads_per_rank": 2}] * 60)
    starter.source.dirty = True
    assert leases_of(starter, 10) <= 3
    assert len(starter.source.stock) <= KEPT


requests = st.fixed_dictionaries(
    {
        "ranks_per_node": st.integers(1, 3),
        "threads_per_rank": st.integers(1, 5),
        "threads_per_core": st.integers(1, 2),
        "node_packing_count": st.sampled_from([1, 1, 2, 4]),
        "gpus_per_rank": st.sampled_from([0.0, 0.0, 0.5, 1.0, 2.0]),
        "launch_params": st.sampled_from([{}, {}, WHOLE]),
    }
)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    running=st.lists(requests, max_size=6),
    waiting=st.lists(requests, min_size=1, max_size=12),
)
def test_what_there_is_room_for_is_what_is_leased_past_the_head(
    running: list[Any], waiting: list[Any]
) -> None:
    """Nothing that fits is passed by."""
    BalsamJob.objects.all().delete()
    machine = Machine(2, 4, gpus=2)
    for shape in running:
        machine.nodes.place(request(shape))
    requested = dict(zip(runnable(*waiting), map(request, waiting), strict=True))
    starter = starter_on(machine)
    rooms = machine.nodes.rooms()
    starter.source.lease_past(100, Past(2, rooms))
    leased = {task.id for task in starter.source.stock}
    possible = {key: asked for key, asked in requested.items() if asked.gpus() <= 2}
    assert leased >= {key for key, asked in possible.items() if machine.nodes.fits(asked)}
    assert rooms.idle or not any(requested[key].whole_nodes for key in leased)


def request(shape: dict[str, Any]) -> Request:
    rest = {name: value for name, value in shape.items() if name != "launch_params"}
    return Request(**rest, whole_nodes="whole_nodes" in shape["launch_params"])


def test_a_head_that_could_not_end_in_time_is_judged_anew_after_a_while() -> None:
    """What runs may end earlier than it said."""
    machine = Machine(4, 4)
    starter = starter_on(machine)
    starter.source.seconds_left = lambda: 36000.0 - machine.now
    runnable(*[{"wall_time_minutes": 480, "launch_params": WHOLE}] * 3)
    starter.start()
    [head] = runnable({"num_nodes": 4, "wall_time_minutes": 180})
    starter.source.dirty = True
    starter.start()
    assert machine.nodes.reservation is None and head in starter._hopeless
    for _, _, placement in machine.running:
        machine.nodes.give_back(placement)
        assert machine.nodes.place(Request(whole_nodes=True), 1800.0, machine.now)
    machine.now += starting.HOPELESS_SECONDS / 2
    starter.start()
    assert machine.nodes.reservation is None
    machine.now += starting.HOPELESS_SECONDS
    starter.start()
    assert machine.nodes.reservation is not None and head not in starter._hopeless


def test_a_database_that_goes_away_fails_no_job() -> None:
    machine = Machine(2, 1)
    starter = starter_on(machine)
    runnable(*[{}] * 5)
    assert starter.source.lease(5) == 5

    def away(key: int | None) -> Application:
        raise ServerStopped("The server is not running.")

    starter.source.application = away  # type: ignore[method-assign]
    with pytest.raises(ServerStopped):
        starter.start()
    assert len(starter.source.stock) == 5 and not machine.started
    assert list(cast(Any, starter.ledger)) == []


def test_what_was_leased_for_soon_and_waits_after_all_is_left_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A burst of short tasks, and then long ones."""
    runnable(*[{}] * 200)
    starter = starter_on(Machine(1, 1))
    monkeypatch.setattr(starter.progress, "rate", lambda: 100.0)
    starter.start()
    assert len(starter.source.stock) == 99
    monkeypatch.setattr(starter.progress, "rate", lambda: 0.0)
    starter.start()
    assert len(starter.source.stock) == 99, "the next may end at once again"
    starter._next_trim = 0.0
    starter.start()
    assert len(starter.source.stock) == KEPT
    assert len(lease.held(starter.source.session)) == KEPT + 1
    assert starter._next_trim > time.monotonic()


def test_a_machine_is_filled_at_once_with_whatever_mix() -> None:
    machine = Machine(8, 4)
    wide = runnable(*[{"num_nodes": 2}] * 3)
    narrow = runnable(*[{}] * 20)
    starter = starter_on(machine)
    starter.start()
    assert set(machine.started) == {*wide, *narrow[:8]}
    assert machine.nodes.idle_cores == 0
    assert len(starter.source.stock) <= 20


def test_narrow_jobs_go_past_a_wide_one_that_waits_and_do_not_delay_it() -> None:
    machine = Machine(4, 2)
    first = runnable({"num_nodes": 3, "wall_time_minutes": 10})
    starter = starter_on(machine)
    starter.start()
    wide = runnable({"num_nodes": 2, "priority": 5, "wall_time_minutes": 10})
    long = runnable(*[{"wall_time_minutes": 30}] * 8)
    short = runnable(*[{"wall_time_minutes": 5}] * 3)
    starter.source.dirty = True
    starter.start()
    # One node is idle: it is kept for the wide one, and used until then by what ends in time.
    kept = machine.nodes.reservation
    assert kept and kept.starts == 600
    assert {*first, *short[:2]} == set(machine.started)
    run_all(machine, starter)
    assert machine.started[wide[0]] == 600
    assert set(machine.started) == {*first, *wide, *long, *short}


def test_a_short_job_goes_past_a_long_one_that_is_like_it() -> None:
    """There is no room for the long one before the wide one starts: that says nothing of others."""
    machine = Machine(4, 1)
    first, wide, *others = runnable(
        {"num_nodes": 3, "wall_time_minutes": 10},
        {"num_nodes": 2, "wall_time_minutes": 10},
        *[{"wall_time_minutes": 30 if index % 2 == 0 else 4} for index in range(8)],
    )
    starter = starter_on(machine, "fifo")
    starter.start()
    assert list(machine.started) == [first, others[1]]
    run_all(machine, starter)
    assert machine.started[wide] == 600
    # Two of them end before, on the node that the wide one does without.
    assert [machine.started[short] for short in others[1:5:2]] == [0, 240]
    assert set(machine.started) == {first, wide, *others}


def test_what_is_leased_past_the_head_is_not_asked_for_again_and_again() -> None:
    machine = Machine(2, 2)
    runnable({"wall_time_minutes": 30}, {"num_nodes": 2}, *[{"num_nodes": 2}] * 5)
    BalsamJob.objects.filter(num_nodes=1).update(priority=1)
    starter = starter_on(machine)
    starter.start()
    assert leases_of(starter, 5) <= 1
    assert len(machine.started) == 1
    assert machine.nodes.reservation


TEN = {"threads_per_rank": 10}


def kept_beside_remnants() -> tuple[Machine, Starter]:
    """Two nodes are kept for an hour, one of them idle; four cores are left over on the others."""
    machine = Machine(4, 64)
    runnable({"wall_time_minutes": 60, "launch_params": WHOLE})
    runnable(*[{**TEN, "wall_time_minutes": 180}] * 12)
    starter = starter_on(machine)
    starter.start()
    runnable({"num_nodes": 2, "priority": 5, "wall_time_minutes": 60})
    starter.source.dirty = True
    starter.start()
    kept = machine.nodes.reservation
    assert kept and kept.starts == 3600 and machine.nodes.kept_idle_nodes == 1
    assert machine.nodes.open_cores == 8
    return machine, starter


def test_cores_left_over_elsewhere_keep_no_short_job_from_reserved_nodes() -> None:
    machine, starter = kept_beside_remnants()
    long = runnable(*[{**TEN, "wall_time_minutes": 180}] * 40)
    short = runnable(*[{**TEN, "wall_time_minutes": 5}] * 40)
    starter.source.dirty = True
    starter.start()
    assert set(short[:6]) == machine.started.keys() & {*short, *long}


def test_neither_open_nor_reserved_nodes_are_asked_for_again_and_again() -> None:
    machine, starter = kept_beside_remnants()
    runnable(*[{**TEN, "wall_time_minutes": 180}] * 40)
    starter.source.dirty = True
    assert leases_of(starter, 5) == 2, "for open nodes, and for reserved ones"
    machine.now += 600
    assert leases_of(starter, 5) == 0, "less time is left, and nothing else has changed"
    runnable(*[{**TEN, "wall_time_minutes": 5}] * 4)
    starter.source.dirty = True
    assert leases_of(starter, 5) <= 4
    assert machine.nodes.kept_idle_nodes == 0


def test_wide_jobs_far_behind_the_head_are_left_to_others() -> None:
    machine = Machine(4, 1)
    runnable({"num_nodes": 1, "priority": 9})
    jobs = runnable(*[{"num_nodes": 4}] * 40)
    starter = starter_on(machine)
    starter.start()
    assert len(starter.source.stock) <= KEPT
    held = lease.held(starter.source.session)
    assert len(held) <= KEPT + 1 and jobs[0] in held
    run_all(machine, starter)
    assert set(jobs) < set(machine.started)


def test_what_would_not_end_in_time_is_not_started() -> None:
    machine = Machine(2, 2)
    long, short = runnable({"wall_time_minutes": 60}, {"wall_time_minutes": 5})
    starter = starter_on(machine)
    starter.source.seconds_left = lambda: 600.0 - machine.now
    run_all(machine, starter)
    assert set(machine.started) == {short}
    assert starter.source.left_for_time() == 1 and not starter.source.dirty
    assert set(lease.held(starter.source.session)) == {short}


def test_nothing_is_reserved_for_what_could_not_end_in_time() -> None:
    machine = Machine(2, 2)
    first, wide, narrow = runnable(
        {"wall_time_minutes": 8, "priority": 2},
        {"wall_time_minutes": 5, "num_nodes": 2, "priority": 1},
        {"wall_time_minutes": 9},
    )
    starter = starter_on(machine)
    starter.source.seconds_left = lambda: 600.0 - machine.now
    starter.start()
    assert set(machine.started) == {first, narrow} and machine.nodes.reservation is None
    run_all(machine, starter)
    assert wide not in machine.started and not starter.source.stock


def test_the_launcher_knows_when_a_job_is_due() -> None:
    machine = Machine(1, 1)
    (job,) = runnable({})
    BalsamJob.objects.update(not_before=history.now() + timedelta(seconds=0.3))
    starter = starter_on(machine)
    starter.start()
    deadline = starter.source.deadline
    assert not machine.started and deadline and deadline <= time.monotonic() + 0.3
    while not machine.started:
        assert time.monotonic() < deadline + 10
        starter.start()
    assert time.monotonic() >= deadline and set(machine.started) == {job}


class WithoutLaunches(Machine):
    """Every start needs an mpirun, and there are none left."""

    def start(self, task: Task, app: Application) -> Any:
        raise MpiUnavailable("They are used up.")

    def needed(self, task: Task) -> bool:
        return True


def test_where_all_is_run_by_mpirun_nothing_is_leased_without_one() -> None:
    """It was refused, given back and leased again, for ever."""
    serial = runnable(*[{}] * 3)
    runnable({"ranks_per_node": 2})
    starter = starter_on(WithoutLaunches(1, 1))
    told: list[str] = []

    def tell(words: str) -> None:
        assert not told, "again"
        told.append(words)

    starter.tell = tell
    starter.source.mpi_only = True
    for _ in range(3):
        starter.source.dirty = True
        starter.start()
    assert len(told) == 1 and told[0].startswith("They are used up. Jobs that need one are left")
    assert not starter.source.stock and not starter.source.dirty
    assert not lease.held(starter.source.session)
    assert starter.source.left_for_mpi() == len(serial) + 1


def tagged_source(monkeypatch: pytest.MonkeyPatch, number: int) -> Source:
    """One for which it always takes too long to get past jobs with other tags."""
    monkeypatch.setattr("balsam.launcher.source.SLOW_SECONDS", -1.0)
    monkeypatch.setattr("balsam.launcher.source.ROW_SECONDS", 0.0)
    monkeypatch.setattr("balsam.launcher.source.SHARE", 1e-9)
    runnable({"tags": {"step": "2"}}, *[{"tags": {"step": "1"}}] * number)
    source = starter_on(Machine(1, 1)).source
    source.scope = Scope(tags=(("step", "1"),))
    return source


def test_where_jobs_with_other_tags_are_in_the_way_more_are_leased_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = tagged_source(monkeypatch, 40)
    assert source.lease(4) == 4 and source.dirty
    # Nothing was looked for in vain, so there is no pause.
    assert source.lease(4) == 36
    assert len(source.stock) == 40 and not source.dirty


def test_jobs_with_other_tags_are_not_searched_in_vain_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = tagged_source(monkeypatch, 3)
    assert source.lease(4) == 3
    runnable({"tags": {"step": "1"}})
    source.dirty = True
    assert source.lease(4) == 0 and source.dirty
    assert source.deadline and source.deadline > time.monotonic() + 100
    source._rest_until = 0.0
    assert source.lease(4) == 1


def test_jobs_that_have_to_wait_are_not_gone_through_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With very many of them, each commit made the launcher go through all."""
    waiting = runnable(*[{}] * 3)
    BalsamJob.objects.update(not_before=history.now() + timedelta(hours=1))
    source = starter_on(Machine(1, 1)).source
    assert source.lease(4) == 0 and not source.dirty
    monkeypatch.setattr("balsam.launcher.source.LONG_SECONDS", -1.0)
    monkeypatch.setattr("balsam.launcher.source.MOST_REST_SECONDS", 1000.0)
    monkeypatch.setattr("balsam.launcher.source.SHARE", 1e-9)
    runnable({})
    source.dirty = True
    assert source.lease(4) == 1
    source.dirty = True
    assert source.lease(4) == 0 and source.dirty
    assert source.deadline and source.deadline > time.monotonic() + 100
    assert len(source.stock) == 1 and source.stock[0].id not in waiting


shapes = st.fixed_dictionaries(
    {
        "num_nodes": st.sampled_from([1, 1, 1, 2, 3]),
        "threads_per_rank": st.integers(1, 3),
        "wall_time_minutes": st.integers(2, 9),
        "priority": st.integers(0, 1),
    }
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    jobs=st.lists(shapes, min_size=1, max_size=40), sort_by=st.sampled_from([WIDE_FIRST, "fifo"])
)
def test_every_job_is_started_once_whatever_the_mix(jobs: list[Any], sort_by: str) -> None:
    BalsamJob.objects.all().delete()
    machine = Machine(3, 3)
    keys = runnable(*jobs)
    starter = starter_on(machine, sort_by)
    run_all(machine, starter)
    assert set(machine.started) == set(keys)
    assert machine.nodes.idle_nodes == 3


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(jobs=st.lists(shapes, min_size=40, max_size=80))
def test_while_nothing_changes_nothing_is_asked_for_whatever_the_mix(jobs: list[Any]) -> None:
    BalsamJob.objects.all().delete()
    machine = Machine(4, 4)
    runnable(*jobs)
    starter = starter_on(machine)
    starter.start()
    while machine.running:
        machine.pass_on()
        starter.source.dirty = True
        before = len(machine.started)
        assert leases_of(starter, 1) <= len(machine.started) - before + 4
        assert leases_of(starter, 2) == 0


class Capped(Machine):
    """Every task needs an mpirun, and there are but two."""

    def start(self, task: Any, app: Any) -> Any:
        if len(self.started) >= 2:
            raise MpiUnavailable("They are used up.")
        return super().start(task, app)

    def needed(self, task: Any) -> bool:
        return True


class FewMpiruns(Machine):
    """One mpirun at a time, for tasks of several ranks."""

    def needed(self, task: Task) -> bool:
        return task.ranks > 1

    def awaited(self, task: Task) -> bool:
        return self.needed(task) and any(key in self.parallel for _, key, _ in self.running)

    def start(self, task: Task, app: Application) -> Any:
        return None if self.awaited(task) else super().start(task, app)

    @property
    def parallel(self) -> set[int]:
        return {task.id for task in self.recent if self.needed(task)}


@pytest.mark.parametrize("serial", [3, 100])
def test_jobs_that_need_no_mpirun_go_past_those_that_wait_for_one(serial: int) -> None:
    machine = FewMpiruns(2, 4)
    parallel = runnable(*[{"ranks_per_node": 2, "priority": 9, "node_packing_count": 4}] * 70)
    others = runnable(*[{"node_packing_count": 4}] * serial)
    starter = starter_on(machine)
    starter.start()
    assert set(machine.started) == {parallel[0], *others[:7]}
    assert len(starter.source.stock) < len(parallel) + 2 * KEPT
    assert not starter.source.lease_beside(10) or serial > 3
    run_all(machine, starter)
    assert set(machine.started) == {*parallel, *others}
    begun = [machine.started[key] for key in parallel]
    assert begun == [number * 120 for number in range(len(parallel))]


def test_where_all_is_run_by_mpirun_nothing_goes_past(monkeypatch: pytest.MonkeyPatch) -> None:
    starter = starter_on(FewMpiruns(2, 4))
    starter.source.mpi_only = True
    runnable(*[{"ranks_per_node": 2}] * 9)
    starter.start()
    monkeypatch.setattr(starter.source, "_lease", None)
    starter.source.dirty = True
    starter.start()


def test_launches_that_are_used_up_end_the_turn() -> None:
    """Also for those that have passed a wide one that waits."""
    starter = starter_on(Capped(4, 2))
    starter.source.mpi_only = True
    runnable({"num_nodes": 3, "priority": 9, "wall_time_minutes": 10})
    starter.start()
    head = {"num_nodes": 2, "priority": 5, "wall_time_minutes": 10}
    runnable(head, *[{"wall_time_minutes": 5}] * 60)
    starter.source.dirty = True
    told: list[str] = []
    starter.tell = told.append
    starter.start()
    assert len(told) == 1
    assert not starter.source.stock


def test_what_asks_for_more_than_there_is_is_left_to_another_in_a_batch_job() -> None:
    starter = starter_on(Machine(2, 2), leave_large=True)
    runnable({"num_nodes": 3}, {"gpus_per_rank": 1.0}, {})
    starter.source.pass_jobs(list(BalsamJob.objects.values_list("pk", flat=True)))
    starter.start()
    assert BalsamJob.objects.counts_by_state() == {states.PREPROCESSED: 3}
    assert len(starter.attempts.started) == 1  # type: ignore[attr-defined]
    assert starter.source.left_for_size() == 2


def test_jobs_that_are_left_for_the_mode_are_told_of_once() -> None:
    starter = starter_on(Machine(2, 2), leave_large=True)
    source = starter.source
    source.serial_only = True
    source.seconds_left = lambda: 600.0
    runnable({"num_nodes": 3}, {"ranks_per_node": 2, "wall_time_minutes": 60})
    runnable({"wall_time_minutes": 60}, {"ranks_per_node": 2}, {})
    starter.start()
    assert len(starter.attempts.started) == 1  # type: ignore[attr-defined]
    assert (source.left_for_mode(), source.left_for_size(), source.left_for_time()) == (3, 0, 1)


def test_jobs_that_are_left_for_their_size_are_not_told_of_as_late() -> None:
    source = starter_on(Machine(2, 2), leave_large=True).source
    source.seconds_left = lambda: 600.0
    runnable({"num_nodes": 3}, {"num_nodes": 3, "wall_time_minutes": 60}, {"wall_time_minutes": 60})
    assert (source.left_for_size(), source.left_for_time()) == (2, 1)


def test_a_full_disk_fails_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """What can not get its work directory waits, with all that comes after it."""
    machine = Machine(2, 1)
    starter = starter_on(machine)
    told: list[str] = []
    starter.tell = told.append
    keys = runnable(*[{}] * 4)
    real, tries = machine.start, []

    def no_space(task: Task, app: Application) -> Any:
        tries.append(task.id)
        error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise LaunchError(f"The work directory can not be made: {error.strerror}.") from error

    machine.start = no_space  # type: ignore[method-assign]
    for _ in range(3):
        starter.start()
    assert tries == keys[:1] and starter.disk.deadline is not None
    starter.disk._until = 0.0
    starter.start()
    assert tries == [keys[0]] * 2 and len(starter.source.stock) >= 2
    assert told == [
        "The work directory can not be made: No space left on device. "
        "Nothing is started until there is space; trying again."
    ]
    machine.start = real  # type: ignore[method-assign]
    starter.disk._until = 0.0
    run_all(machine, starter)
    assert list(machine.started) == keys
    assert all(not isinstance(entry, End) for entry in list.__iter__(cast(Any, starter.ledger)))
