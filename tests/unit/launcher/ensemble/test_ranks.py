"""Where ranks of an mpirun run on a node, by real processes that carry their marks."""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from collections.abc import Iterator

import pytest

from balsam.launcher.ensemble import ranks
from balsam.launcher.ensemble.protocol import RUN_MARK, Confinement
from balsam.launcher.ensemble.ranks import EARLY, LOOKS, PAUSE_SECONDS, Ranks
from balsam.platform import affinity, process

CPUS = sorted(os.sched_getaffinity(0))
#: Somewhere that nobody can be.
AWAY = (max(CPUS) + 1,)
several_cpus = pytest.mark.skipif(len(CPUS) < 2, reason="this machine has one CPU")


class Job:
    """The processes of an attempt on a node of which several may be due at once."""

    def __init__(self) -> None:
        self.mark = uuid.uuid4().hex
        self._children: list[subprocess.Popen[bytes]] = []

    def process(self, rank: int | None = 0, cpus: list[int] = CPUS) -> int:
        """One more: a rank, or what starts ranks. Its pid."""
        env = {RUN_MARK: self.mark, **({} if rank is None else {"PMI_RANK": str(rank)})}
        child = subprocess.Popen(["/bin/sleep", "600"], env=env)
        self._children.append(child)
        os.sched_setaffinity(child.pid, cpus)
        return child.pid

    def confinement(
        self, number: int = 1, cpus: tuple[int, ...] = tuple(CPUS), different: int = 0
    ) -> Confinement:
        return Confinement(self.mark, "PMI_RANK", number, cpus, different or len(cpus))

    def end(self) -> None:
        for child in self._children:
            child.kill()
            child.wait()


@pytest.fixture
def job() -> Iterator[Job]:
    made = Job()
    yield made
    made.end()


def look(watch: Ranks) -> list[tuple[str, str]]:
    """What the next look finds, without waiting for its time."""
    assert watch.deadline is not None
    return list(watch.look(watch.deadline))


def looks(watch: Ranks) -> list[tuple[str, str]]:
    """What all looks find until there is nothing left to look for."""
    found = []
    while watch.deadline is not None:
        found += look(watch)
    return found


def test_ranks_that_are_where_they_should_be_are_looked_at_twice(job: Job) -> None:
    job.process(0)
    job.process(1)
    watch = Ranks()
    watch.check("1:1", job.confinement(2))
    assert list(watch.look(time.monotonic())) == [], "they have only begun"
    assert look(watch) == [] and watch.deadline is not None
    assert look(watch) == [] and watch.deadline is None


def test_ranks_elsewhere_are_told_of_when_they_are_still_there_a_moment_later(job: Job) -> None:
    job.process()
    watch = Ranks()
    watch.check("1:1", job.confinement(cpus=AWAY))
    assert look(watch) == []
    [(token, note)] = look(watch)
    allowed = affinity.spelled(CPUS)
    assert token == "1:1" and watch.deadline is None
    assert note == f"It was to be confined to the CPUs {AWAY[0]}, but may use {allowed}."


@several_cpus
def test_a_rank_on_its_way_is_not_astray(job: Job) -> None:
    """As one whose launcher starts another program, which binds it, before its own."""
    pid = job.process()
    watch = Ranks()
    watch.check("1:1", job.confinement(cpus=(CPUS[0],)))
    assert look(watch) == []
    os.sched_setaffinity(pid, [CPUS[0]])
    assert looks(watch) == []


@several_cpus
def test_a_rank_that_goes_astray_when_it_begins_is_seen(job: Job) -> None:
    pid = job.process(cpus=[CPUS[0]])
    watch = Ranks()
    watch.check("1:1", job.confinement(cpus=(CPUS[0],)))
    assert look(watch) == []
    os.sched_setaffinity(pid, CPUS)
    [(token, _)] = looks(watch)
    assert token == "1:1"


def test_what_starts_ranks_is_none(job: Job) -> None:
    """The daemons of an MPI carry the attempt's mark, too, and are bound to nothing."""
    job.process(rank=None)
    watch = Ranks()
    watch.check("1:1", job.confinement(cpus=AWAY))
    assert looks(watch) == []


def test_ranks_that_have_yet_to_come_are_waited_for_but_not_for_ever(job: Job) -> None:
    job.process(0)
    watch = Ranks()
    watch.check("1:1", job.confinement(2))
    times = []
    while watch.deadline is not None:
        times.append(watch.deadline)
        assert look(watch) == []
    assert len(times) == LOOKS
    pauses = [later - sooner for sooner, later in zip(times, times[1:], strict=False)]
    early, late = [PAUSE_SECONDS] * EARLY, range(1, LOOKS - EARLY)
    assert pauses == pytest.approx([*early, *(PAUSE_SECONDS * 2**look for look in late)])
    assert 60 < sum(pauses) < 180


def test_every_thread_of_a_core_that_was_given_is_right(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many an MPI binds to cores, whatever of their threads is asked for."""
    job.process()
    monkeypatch.setattr(ranks, "siblings", lambda cpu: {cpu, *CPUS})
    watch = Ranks()
    watch.check("1:1", job.confinement(cpus=(CPUS[0],)))
    assert looks(watch) == []


def test_with_a_node_to_itself_a_job_may_use_all_of_it(job: Job) -> None:
    """Whatever its CPUs are called there, and whatever the launcher's node has."""
    job.process()
    watch = Ranks()
    watch.check("1:1", job.confinement(cpus=(), different=1))
    assert looks(watch) == []


@several_cpus
def test_ranks_that_share_a_cpu_where_each_could_have_its_own_are_told_of(job: Job) -> None:
    for rank in range(2):
        job.process(rank, [CPUS[0]])
    watch = Ranks()
    watch.check("1:1", job.confinement(2, (), 4))
    watch.check("2:1", job.confinement(2))
    assert len(CPUS) >= 2
    note = f"Its 2 ranks on a node share the CPUs {CPUS[0]}; they were given 2."
    assert looks(watch) == [("1:1", note), ("2:1", note)]


def test_ranks_share_what_they_were_told_to_share(job: Job) -> None:
    for rank in range(2):
        job.process(rank, [CPUS[0]])
    watch = Ranks()
    watch.check("1:1", job.confinement(2, tuple(CPUS), 1))
    assert looks(watch) == []


def test_a_rank_and_what_it_starts_may_share_one_and_so_may_too_many_ranks(job: Job) -> None:
    job.process(0, [CPUS[0]])
    job.process(0, [CPUS[0]])
    crowd = Job()
    try:
        for rank in range(3):
            crowd.process(rank, [CPUS[0]])
        watch = Ranks()
        watch.check("1:1", job.confinement(1))
        watch.check("2:1", crowd.confinement(3, (CPUS[0],)))
        assert looks(watch) == []
    finally:
        crowd.end()


def test_one_look_through_all_processes_is_for_all_attempts(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def counted() -> Iterator[tuple[int, list[bytes]]]:
        seen.append(1)
        return process.environments()

    monkeypatch.setattr(ranks, "process", type("P", (), {"environments": staticmethod(counted)}))
    job.process()
    other = Job()
    watch = Ranks()
    watch.check("1:1", job.confinement())
    watch.check("2:1", other.confinement())
    last = time.monotonic() + affinity.SETTLED_SECONDS
    assert list(watch.look(last)) == [] and len(seen) == 1
    watch.check("3:1", other.confinement())
    assert watch.deadline is not None and watch.deadline >= last + PAUSE_SECONDS
    assert list(watch.look(last + PAUSE_SECONDS / 2)) == [] and len(seen) == 1
