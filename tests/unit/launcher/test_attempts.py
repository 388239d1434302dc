"""Attempts on this machine, with real processes and no database."""

from __future__ import annotations

import os
import resource
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from balsam import states
from balsam.conf.settings import Launcher as LauncherSettings
from balsam.conf.settings import Mpi as MpiSettings
from balsam.core import ids
from balsam.errors import LaunchError, MpiUnavailable, ProgramMissing, Unsatisfiable
from balsam.launcher.attempts import Attempts, Bounds
from balsam.launcher.ending import could_not_start
from balsam.launcher.ensemble.protocol import RUN_MARK, Confinement, Ended, NodeLost, Started
from balsam.launcher.entries import End
from balsam.launcher.mpi import MpiFinder
from balsam.launcher.node_pool import NodePool, Request
from balsam.launcher.onlookers import Onlookers
from balsam.launcher.options import AUTO, MPI
from balsam.launcher.preparing import Ground, Preparer
from balsam.launcher.tasks import Application, Task
from balsam.platform import process, workdirs
from balsam.platform.process import Exit, RunSpec
from balsam.platform.shape import NodeShape, uniform
from tests.tools.hands import FakeHands

FAKE_MPIRUN = Path(__file__).parents[2] / "fakes" / "mpirun"


@pytest.fixture
def attempts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Attempts]:
    """On a node of two cores."""
    monkeypatch.chdir(tmp_path)
    environ = {"PATH": os.environ["PATH"]}
    preparer = Preparer(tmp_path, environ, f"unit-{uuid.uuid4().hex}")
    config = LauncherSettings(kill_grace_seconds=0.1, stop_grace_seconds=0.1)
    found = Attempts(
        NodePool(("n",), uniform(2)), preparer, config, MpiFinder(MpiSettings(), environ), AUTO
    )
    yield found
    found.kill_all()
    until(lambda: not list(found.reap()) and not len(found))


def until(condition: Any) -> None:
    give_up = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < give_up, "in vain"
        time.sleep(0.005)


def task(number: int, command: str, **changed: Any) -> Task:
    fields: dict[str, Any] = {
        "id": number, "job_id": uuid.uuid4(), "workflow": "w", "name": f"t{number}",
        "state": states.PREPROCESSED, "attempt": 0, "lost_attempts": 0, "app_id": None,
        "direct_command": command, "args": "", "environ": {}, "request": Request(),
        "mpi_flags": "", "wall_time_minutes": 1, "time_limit_minutes": 0.0, "workdir": "",
        "user_workdir": "",
    }  # fmt: skip
    return Task(**{**fields, **changed})


def ended(attempts: Attempts, number: int) -> dict[int, End]:
    """The ends of so many attempts, by job."""
    ends: dict[int, End] = {}

    def all_there() -> bool:
        ends.update((end.job, end) for end in attempts.reap())
        return len(ends) == number

    until(all_there)
    return ends


def test_starts_what_fits_and_frees_it_at_the_end(attempts: Attempts) -> None:
    started = [attempts.start(task(n, "/bin/true"), Application()) for n in range(3)]
    assert [start is not None for start in started] == [True, True, False]
    assert attempts.jobs() == {0, 1} and attempts.room() == 0
    ends = ended(attempts, 2)
    assert {end.outcome.state for end in ends.values()} == {states.RUN_DONE}
    assert len(attempts) == 0 and attempts.room() == 2


def test_a_failed_start_holds_nothing(attempts: Attempts, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    wrong = [
        (task(1, "/no/such/program"), ProgramMissing, states.PROGRAM_MISSING),
        (task(2, ""), ProgramMissing, states.PROGRAM_MISSING),
        (task(2, "echo", args="it's"), ProgramMissing, states.PROGRAM_MISSING),
        (task(2, "x", workflow="taken"), LaunchError, states.STAGING),
        (task(3, "x", request=Request(num_nodes=2)), Unsatisfiable, states.UNSATISFIABLE),
    ]
    for bad, kind, cause in wrong:
        with pytest.raises(kind) as caught:
            attempts.start(bad, Application())
        end = could_not_start(bad, caught.value)
        assert (end.outcome.state, end.outcome.data["cause"]) == (states.FAILED, cause)
        assert end.old_state == states.PREPROCESSED and end.attempt == 0
    assert attempts.room() == 2


def test_a_task_waits_while_the_machine_is_short_of_something(attempts: Attempts) -> None:
    """As long as something runs whose end may make room."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with open(os.devnull) as lowest:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest.fileno() + 1, before[1]))
        try:
            with pytest.raises(LaunchError):
                attempts.start(task(1, "/bin/true"), Application())
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
            assert attempts.start(task(1, "/bin/sleep 600"), Application()) is not None
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest.fileno() + 1, before[1]))
            assert attempts.start(task(2, "/bin/true"), Application()) is None
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert attempts.room() == 1
    assert attempts.start(task(2, "/bin/true"), Application()) is not None


#: Ends well when it is asked to end.
OBLIGING = "/bin/sh -c \"trap 'exit 0' TERM; echo up; while :; do sleep 0.01; done\""


def up(attempts: Attempts, number: int) -> bool:
    output = attempts._running[number].spec.output
    return Path(output).read_text() == "up\n"


def test_what_ended_before_it_was_stopped_keeps_its_outcome(attempts: Attempts) -> None:
    attempts.start(task(1, "/bin/true"), Application())
    attempts.start(task(2, OBLIGING), Application())
    until(lambda: process.ended(attempts._running[1].pid) and up(attempts, 2))
    attempts.stop_all(states.BATCH_TIME_LIMIT, 10)
    ends = ended(attempts, 2)
    found = {job: end.outcome.data["cause"] for job, end in ends.items()}
    assert found == {1: states.OK, 2: states.BATCH_TIME_LIMIT}
    assert ends[2].outcome.data["returncode"] == 0


def test_what_ends_after_a_request_to_stop_was_stopped(attempts: Attempts) -> None:
    """By the scheduler, which signals tasks too, before the launcher comes to it."""
    for number in (1, 2):
        attempts.start(task(number, OBLIGING), Application())
    until(lambda: up(attempts, 1) and up(attempts, 2))
    attempts.stop_requested()
    process.signal_group(attempts._running[1].pid, signal.SIGTERM)
    assert ended(attempts, 1)[1].outcome.data["cause"] == states.BATCH_TIME_LIMIT
    process.signal_group(attempts._running[2].pid, signal.SIGTERM)
    until(lambda: process.ended(attempts._running[2].pid))
    attempts.stop_all(states.BATCH_TIME_LIMIT, 10)
    assert ended(attempts, 1)[2].outcome.data["cause"] == states.BATCH_TIME_LIMIT


def test_a_file_in_the_place_of_the_output_is_moved_aside(
    attempts: Attempts, tmp_path: Path
) -> None:
    """It was staged in, or a preprocess has written it."""
    jobs = [task(1, "/bin/cat t1.out.1"), task(2, "/bin/echo new")]
    directories = [
        tmp_path / workdirs.relative_workdir("w", job.name, ids.short_id(job.job_id))
        for job in jobs
    ]
    for directory in directories:
        directory.mkdir(parents=True)
    (directories[0] / "t1.out").write_text("from elsewhere\n")
    (directories[1] / "t2.out").touch()
    for job in jobs:
        attempts.start(job, Application())
    ended(attempts, 2)
    assert (directories[0] / "t1.out").read_text() == "from elsewhere\n"
    assert [path.name for path in directories[1].iterdir()] == ["t2.out"]


def test_a_task_waits_for_mpiruns_answer(attempts: Attempts, tmp_path: Path) -> None:
    program = tmp_path / "mpirun"
    program.symlink_to(FAKE_MPIRUN)
    control = tmp_path / "mpirun.control"
    control.write_text("while [ ! -f $0.go ]; do sleep 0.01; done\n")
    finder = MpiFinder(MpiSettings(mpirun=str(program)), {})
    attempts.mpiruns.finder = finder
    wide = task(1, "/bin/true", request=Request(ranks_per_node=2))
    assert attempts.start(wide, Application()) is None
    assert finder.deadline is not None and finder.news == ""
    (tmp_path / "mpirun.go").touch()
    until(lambda: attempts.start(wide, Application()))
    assert finder.deadline is None
    assert finder.news == f"MPI jobs are run by {program}: MPICH (Hydra)."


def test_without_an_mpirun_every_task_that_needs_one_says_so(
    attempts: Attempts, tmp_path: Path
) -> None:
    attempts.mpiruns.finder = MpiFinder(MpiSettings(mpirun=str(tmp_path / "none")), {})
    wide = task(1, "/bin/true", request=Request(ranks_per_node=2))
    for _ in range(2):
        with pytest.raises(MpiUnavailable, match="none', which does not exist"):
            attempts.start(wide, Application())
    assert attempts.start(replace(wide, mpirun=False), Application()) is not None


def answering_mpirun(directory: Path) -> MpiFinder:
    """One that has said what it is."""
    program = directory / "mpirun"
    program.symlink_to(FAKE_MPIRUN)
    finder = MpiFinder(MpiSettings(mpirun=str(program)), {})
    until(finder.get)
    return finder


def test_more_options_of_mpirun_are_words_of_a_shell(tmp_path: Path) -> None:
    program = tmp_path / "mpirun"
    program.symlink_to(FAKE_MPIRUN)
    config = MpiSettings(mpirun=str(program), flavour="mpich", flags="-x --wdir '/a b'")
    found = MpiFinder(config, {}).get()
    assert found is not None and found.flags == ("-x", "--wdir", "/a b")
    with pytest.raises(MpiUnavailable, match=r"-x 'a, are no words of a shell.*mpi\.flags"):
        MpiFinder(replace(config, flags="-x 'a"), {}).get()


def test_launches_are_used_up_one_by_one(attempts: Attempts, tmp_path: Path) -> None:
    """Those of mpirun only, and whatever became of them."""
    attempts.mpiruns.finder = answering_mpirun(tmp_path)
    attempts.mpiruns.at_once, attempts.mpiruns.in_all = 1, 2
    wide = task(1, "/bin/true", request=Request(ranks_per_node=2))
    assert attempts.start(task(0, "/bin/true"), Application())
    ended(attempts, 1)
    assert attempts.start(wide, Application())
    # One at once: the second has to wait, and is no launch yet.
    assert attempts.start(replace(wide, id=2), Application()) is None
    ended(attempts, 1)
    assert attempts.start(replace(wide, id=2), Application())
    ended(attempts, 1)
    for _ in range(2):
        with pytest.raises(
            MpiUnavailable, match="this launcher is good for 2 launches, and they are used up"
        ):
            attempts.start(replace(wide, id=3), Application())
    assert attempts.start(task(4, "/bin/true"), Application())
    assert attempts.start(replace(wide, id=5, mpirun=False), Application()) is None
    ended(attempts, 1)


def with_hands(
    attempts: Attempts,
    hands: FakeHands,
    mpirun: MpiFinder,
    bounds: Bounds | None = None,
) -> Attempts:
    """On nodes of two cores that others reach."""
    nodes = NodePool(tuple(sorted(hands.ready_nodes)), uniform(2))
    return Attempts(nodes, attempts._preparer, LauncherSettings(), mpirun, AUTO, bounds, hands)


def with_onlookers(attempts: Attempts, hands: FakeHands, mpirun: MpiFinder) -> Attempts:
    """On nodes of two cores that others look at, where mpirun starts every task."""
    names = tuple(sorted(hands.ready_nodes))
    return Attempts(
        NodePool(names, uniform(2)), attempts._preparer, LauncherSettings(), mpirun, MPI,
        onlookers=Onlookers(hands, names),
    )  # fmt: skip


def test_launches_that_reach_the_workers_are_used_up_too(
    attempts: Attempts, tmp_path: Path
) -> None:
    hands = FakeHands(["n"])
    far = with_hands(attempts, hands, answering_mpirun(tmp_path), Bounds(launches=3))
    wide = task(1, "/bin/true", request=Request(ranks_per_node=2))
    assert far.start(wide, Application())
    ended(far, 1)
    assert not far.mpiruns.spent
    # They had to be started again.
    hands.launches = 2
    with pytest.raises(MpiUnavailable, match="used up .*, 2 of them by the workers"):
        far.start(replace(wide, id=2), Application())


#: Of these hands may start tasks, or only look on.
REACHED = pytest.mark.parametrize("reached", [with_hands, with_onlookers])
Reached = Callable[[Attempts, FakeHands, MpiFinder], Attempts]


@REACHED
def test_ranks_are_looked_at_on_their_own_nodes(
    attempts: Attempts, tmp_path: Path, reached: Reached
) -> None:
    hands = FakeHands(["a", "b"])
    attempts._preparer = replace(attempts._preparer, ground=Ground(cpus=((0,), (1,))))
    far = reached(attempts, hands, answering_mpirun(tmp_path))
    request = Request(ranks_per_node=2, threads_per_core=2, affinity="core")
    part = task(1, "/bin/true", request=request)
    wide = task(2, "/bin/true", request=Request(2, ranks_per_node=2, affinity="depth"))
    free = task(3, "/bin/true", request=Request(ranks_per_node=2))
    wish = replace(part, id=4, params={"cpu_bind": "user:0,0"})
    own = replace(part, id=5, mpi_flags="--bind-to none")
    for one in (part, wide, free, wish, own):
        assert far.start(one, Application())
        end = ended(far, 1)[one.id]
        told = end.outcome.data.get("affinity", "")
        assert ("It has wandered about " in told) == (one in (part, wide)), one
    (one, [where], held), (two, both, all_of_it) = hands.checked
    assert (one, two, {*both}) == ("1:1", "2:1", {"a", "b"}) and where in both
    assert held == Confinement(held.mark, "MPI_LOCALRANKID", 2, (0,), 1)
    assert held.mark.endswith(":1:1")
    assert (all_of_it.cpus, all_of_it.different) == ((), 2)
    assert [line.split(" on ")[0] for line in far.news] == [part.label, wide.label]
    # What is told of one that has ended is nobody's.
    hands.check("1:1", ["a"], held)
    assert not list(far.reap())


def test_what_ranks_are_told_is_what_they_are_held_to(attempts: Attempts, tmp_path: Path) -> None:
    """Not the domain of their cores, nor a thread for each where they are packed."""
    cores = ((0, 4), (1, 5), (2, 6), (3, 7))
    hands = FakeHands(["a"])
    attempts._preparer = replace(attempts._preparer, ground=Ground(cpus=cores))
    far = with_hands(attempts, hands, answering_mpirun(tmp_path))
    far.nodes = NodePool(("a",), NodeShape(4, cores, numa=((0, 1), (2, 3))))
    for number, packed, affinity in ((1, 2, "core"), (2, 2, "numa"), (3, 4, "depth")):
        request = Request(ranks_per_node=4, node_packing_count=packed, affinity=affinity)
        assert far.start(task(number, "/bin/true", request=request), Application())
        ended(far, 1)
    told = [(found.cpus, found.different) for _, _, found in hands.checked]
    assert told == [((0, 1), 2), ((0, 1, 4, 5), 4), ((0,), 1)]


@REACHED
def test_nodes_are_asked_whether_memory_ran_out_there(
    attempts: Attempts, tmp_path: Path, reached: Reached
) -> None:
    """A rank that was killed far away is a failed mpirun here."""
    hands = FakeHands(["a", "b", "c"])
    hands.starved = {"b"}
    far = reached(attempts, hands, answering_mpirun(tmp_path))
    for number, nodes, cause in ((1, 3, states.OOM), (2, 1, states.EXIT), (3, 3, states.OK)):
        command = "/bin/true" if cause == states.OK else "/bin/false"
        request = Request(nodes, ranks_per_node=2)
        assert far.start(task(number, command, request=request), Application())
        assert ended(far, 1)[number].outcome.data["cause"] == cause
    assert [token for token, _ in hands.asked] == ["1:1", "2:1"]
    assert far.due() is None and not len(far)


def test_those_that_look_on_get_no_task(attempts: Attempts, tmp_path: Path) -> None:
    hands = FakeHands(["a"])
    attempts._preparer = replace(attempts._preparer, ground=Ground(cpus=((0,), (1,))))
    far = with_onlookers(attempts, hands, answering_mpirun(tmp_path))
    for number, mpirun in ((1, True), (2, False)):
        assert far.start(task(number, "/bin/true", mpirun=mpirun), Application())
        assert ended(far, 1)[number].outcome.state == states.RUN_DONE
    assert hands.sent == []


def test_without_those_that_look_on_all_goes_on(attempts: Attempts, tmp_path: Path) -> None:
    hands = FakeHands(["a", "b"])
    here = Ground(frozenset("a"), ((0,), (1,)))
    attempts._preparer = replace(attempts._preparer, ground=here)
    far = with_onlookers(attempts, hands, answering_mpirun(tmp_path))
    hands.hopeless = "no licence"
    assert not list(far.reap())
    assert far.news == [
        "The workers can not be started: no licence. "
        "Nobody looks at what ranks on other nodes than this one do."
    ]
    wide = task(1, "/bin/true", request=Request(2, ranks_per_node=2, affinity="depth"))
    assert far.start(wide, Application()) and not far.trouble and not far.gone
    # That of this one is looked at all the same.
    assert far._bindings._ranks.deadline is not None
    assert ended(far, 1)[1].outcome.state == states.RUN_DONE


@pytest.mark.parametrize("silent", [True, False])
def test_where_only_those_who_look_on_are_known_to_have_ended_ranks_go_on(
    attempts: Attempts, tmp_path: Path, silent: bool
) -> None:
    hands = FakeHands(["a", "b"])
    far = with_onlookers(attempts, hands, answering_mpirun(tmp_path))
    assert not list(far.reap())
    command = f"sh -c 'until [ -e {tmp_path}/go ]; do sleep 0.02; done'"
    assert far.start(task(1, command, request=Request(2)), Application())
    hands.ready_nodes = frozenset("a")
    hands.tell(NodeLost("b", "mpirun ended", (), silent=silent))
    list(far.reap())
    assert set(far.gone) == {"b"} and far.nodes.limits.nodes == 1
    (tmp_path / "go").touch()
    cause = ended(far, 1)[1].outcome.data["cause"]
    assert cause == (states.NODE_LOST if silent else states.OK)


def test_a_node_that_those_who_look_on_hear_no_more_gets_no_task(
    attempts: Attempts, tmp_path: Path
) -> None:
    hands = FakeHands(["a", "b"])
    far = with_onlookers(attempts, hands, answering_mpirun(tmp_path))
    wide = Request(2)
    assert not list(far.reap()) and far.nodes.fits(wide)
    hands.ready_nodes = frozenset("a")
    assert not list(far.reap()) and not far.nodes.fits(wide) and far.nodes.gives("a")
    # With none of them it is not the nodes that are silent.
    hands.ready_nodes = frozenset()
    assert not list(far.reap()) and far.nodes.fits(wide)


#: Tells what it got, and goes on.
HEEDING = "/bin/sh -c \"trap 'echo got' USR1; echo up; while :; do sleep 0.01; done\""


def test_a_signal_comes_before_the_end_and_to_nobody_who_began_later_than_that(
    attempts: Attempts,
) -> None:
    ends = time.monotonic() + 60
    attempts.endings.ends = ends
    early = task(1, HEEDING, signal="USR1", signal_before_min=(ends - time.monotonic() - 1) / 60)
    # The time for its signal was over when it began: it would die of it, not yet being ready.
    late = task(2, HEEDING, signal="USR1", signal_before_min=10)
    began = time.monotonic()
    for one in (early, late):
        attempts.start(one, Application())
    due = attempts.due()
    assert due is not None and began < due <= began + 1
    until(lambda: up(attempts, 1) and up(attempts, 2))
    output = Path(attempts._running[1].spec.output)

    def got() -> bool:
        attempts.timers()
        return "got" in output.read_text()

    until(got)
    assert time.monotonic() > due
    assert attempts.due() is None and not list(attempts.reap())
    assert attempts.jobs() == {1, 2} and up(attempts, 2)
    # It came once, and was not the end.
    attempts.timers()
    assert output.read_text().count("got") == 1


def test_a_program_that_the_signal_ends_is_to_run_again(attempts: Attempts) -> None:
    ends = time.monotonic() + 60
    attempts.endings.ends = ends
    minutes = (ends - time.monotonic() - 0.3) / 60
    warned = {"signal": "USR1", "signal_before_min": minutes}
    attempts.start(task(1, "/bin/sleep 600", **warned), Application())
    # It saves its work first.
    saving = "trap 'trap - USR1; kill -USR1 $$' USR1; while :; do sleep 0.01; done"
    attempts.start(task(2, f'/bin/sh -c "{saving}"', **warned), Application())
    found: list[Any] = []

    def both() -> bool:
        attempts.timers()
        found.extend(attempts.reap())
        return len(found) == 2

    until(both)
    for end in found:
        assert end.outcome.state == states.RUN_TIMEOUT, end.outcome.message
        assert end.outcome.data["cause"] == states.BATCH_TIME_LIMIT
        assert end.outcome.data["warned"] == "SIGUSR1"


@pytest.mark.parametrize("known", [True, False])
def test_only_where_nobody_knows_which_node_is_lost_all_of_an_mpirun_are_in_doubt(
    attempts: Attempts, tmp_path: Path, known: bool
) -> None:
    hands = FakeHands(["n1", "n2"])
    far = with_hands(attempts, hands, answering_mpirun(tmp_path))
    far.start(task(1, "/bin/sleep 600", request=Request(num_nodes=2)), Application())
    if known:
        hands._doomed["n2"] = []
        assert not list(far.reap()) and set(far.gone) == {"n2"}
    else:
        far.endings.leave("n2", states.NODE_LOST, 0.0)
    assert ended(far, 1)[1].outcome.data["cause"] == states.NODE_LOST
    assert hands.doubted == ([] if known else ["n1", "n2"])
    assert far.nodes.gives("n1") == known


def test_tasks_on_other_nodes_get_their_signal_from_there(
    attempts: Attempts, tmp_path: Path
) -> None:
    hands = FakeHands(["n"])
    ends = time.monotonic() + 60
    far = with_hands(attempts, hands, MpiFinder(MpiSettings(), {}), Bounds(ends=ends))
    running: list[Any] = []
    for number, minutes in ((1, (ends - time.monotonic() - 0.2) / 60), (2, 10), (3, 0)):
        one = task(number, "/bin/true", signal="TERM", signal_before_min=minutes)
        far.start(one, Application())
        # Of what its node says only that it began is heard for now.
        hands._events = [event for event in hands._events if isinstance(event, Started)]
        running += far.reap()
    assert [start.job for start in running] == [1, 2]
    until(lambda: far.timers() or hands.signals)
    far.timers()
    assert hands.signals == [("1:1", signal.SIGTERM)]
    # Who was not warned died of something else.
    for token in ("1:1", "2:1"):
        hands._events.append(Ended(token, Exit(7, -15, signal.SIGTERM, 0.0, 0), 0.1))
    causes = [end.outcome.data["cause"] for end in far.reap() if isinstance(end, End)]
    assert causes == [states.BATCH_TIME_LIMIT, states.SIGNAL]
    far.kill_all()


#: Leaves a process behind that is in a group of its own.
LEAVING = "/bin/sh -c 'setsid sleep 600 & echo up; wait'"


@pytest.mark.parametrize("grace", [0.0, 600.0])
def test_those_that_end_together_cost_one_look_at_all_processes(
    attempts: Attempts, monkeypatch: pytest.MonkeyPatch, grace: float
) -> None:
    for number in (1, 2):
        attempts.start(task(number, LEAVING), Application())
    until(lambda: up(attempts, 1) and up(attempts, 2))
    runs = list(attempts._running.values())
    assert len(process.family(*(run.pid for run in runs))) == 4
    looks: list[int] = []
    environments = process.environments
    monkeypatch.setattr(process, "environments", lambda: looks.append(1) or environments())
    attempts.stop_all(states.KILLED, grace)
    assert len(looks) == (0 if grace else 1)
    until(lambda: all(process.ended(run.pid) for run in runs))
    looks.clear()
    assert len(list(attempts.reap())) == 2
    assert len(looks) == 1
    until(lambda: not process.marked_processes(RUN_MARK, *(run.mark for run in runs)))


def test_lets_go_of_what_is_no_longer_held(attempts: Attempts) -> None:
    for number in (1, 2):
        attempts.start(task(number, "/bin/sleep 600"), Application())
    attempts.endings.let_go([2, 3])
    end = ended(attempts, 1)[2]
    assert end.outcome.data["cause"] == states.KILLED
    assert attempts.jobs() == {1}


def test_a_task_that_ignores_its_time_limit_is_killed(attempts: Attempts) -> None:
    command = "/bin/sh -c \"trap '' TERM; echo deaf; sleep 600\""
    attempts.start(task(1, command, time_limit_minutes=0.005), Application())
    ends: dict[int, End] = {}

    def over() -> bool:
        attempts.timers()
        ends.update((end.job, end) for end in attempts.reap())
        return bool(ends)

    until(over)
    data = ends[1].outcome.data
    assert ends[1].outcome.state == states.RUN_TIMEOUT
    assert data["cause"] == states.JOB_TIME_LIMIT and data["tail"] == "deaf"


def test_a_task_that_has_to_wait_is_made_ready_meanwhile(
    attempts: Attempts, tmp_path: Path
) -> None:
    app, waiting = Application(), task(2, "/bin/true")
    attempts.prepare(waiting, app)
    [directory] = (tmp_path / "w").iterdir()
    directory.rmdir()
    # It was made once, and is not looked at again.
    with pytest.raises(LaunchError, match="can not be entered"):
        attempts.start(waiting, app)
    assert attempts.start(waiting, app)
    assert directory.is_dir()


@pytest.mark.parametrize("why", ["its application was edited", "it is old", "another is first"])
def test_what_was_made_ready_does_not_outlive_its_truth(
    attempts: Attempts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    app, waiting = Application(executable="/bin/true"), task(2, "")
    attempts.prepare(waiting, app)
    [directory] = (tmp_path / "w").iterdir()
    directory.rmdir()
    if why == "its application was edited":
        app = replace(app)
    elif why == "it is old":
        monkeypatch.setattr("balsam.launcher.preparing.DRAFT_SECONDS", 0.0)
    else:
        waiting = replace(waiting)
    assert attempts.start(waiting, app)
    assert directory.is_dir()


def test_what_speaks_against_a_waiting_task_is_told_when_its_turn_comes(
    attempts: Attempts,
) -> None:
    waiting = task(2, "/no/such/program")
    attempts.prepare(waiting, Application())
    with pytest.raises(ProgramMissing):
        attempts.start(waiting, Application())


def test_a_task_on_other_cpus_than_it_was_given_is_reported(attempts: Attempts) -> None:
    here = sorted(os.sched_getaffinity(0))
    attempts.nodes = NodePool(("n",), NodeShape(1, ((here[0],),)))
    bound = task(1, "/bin/sleep 600", request=Request(affinity="core"))
    attempts.start(bound, Application())
    run = attempts._running[1]
    assert os.sched_getaffinity(run.pid) == {here[0]}
    if len(here) < 2:
        pytest.skip("this machine has one CPU")
    os.sched_setaffinity(run.pid, here)
    until(lambda: attempts.timers() or attempts._running[1].note)
    attempts.stop(1, states.KILLED, 0.0)
    ends: list[Any] = []
    until(lambda: ends.extend(attempts.reap()) or ends)
    assert "to be confined to" in ends[0].outcome.data["affinity"]
    assert attempts.news and "[t1 | " in attempts.news[0]


def test_only_what_has_ended_is_asked_for(
    attempts: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a thousand mpiruns, few end at a time."""
    attempts.start(task(1, "/bin/sleep 600"), Application())
    attempts.start(task(2, "/bin/true"), Application())
    asked: list[int] = []
    monkeypatch.setattr(process, "reap", lambda pid, begun=0.0: asked.append(pid))
    assert set(ended(attempts, 1)) == {2}
    assert not asked
    attempts.beat()
    list(attempts.reap())
    assert len(asked) == 1, "now and then, somebody else may have reaped it"


def test_a_child_that_is_for_others_to_reap_hides_nothing(attempts: Attempts) -> None:
    spec = RunSpec(["/bin/true"], "/", {}, os.devnull)
    other = process.spawn(spec)
    until(lambda: process.ended(other))
    attempts.start(task(1, "/bin/true"), Application())
    assert set(ended(attempts, 1)) == {1}
    assert process.reap(other)


def test_mpiruns_are_counted(attempts: Attempts, tmp_path: Path) -> None:
    program = tmp_path / "mpirun"
    program.symlink_to(FAKE_MPIRUN)
    attempts.mpiruns.finder = MpiFinder(MpiSettings(mpirun=str(program), flavour="mpich"), {})
    attempts.mpiruns.at_once = 1
    wide = [task(n, "/bin/true", request=Request(ranks_per_node=2)) for n in (1, 2)]

    def started() -> bool:
        assert not attempts.mpiruns.awaited(wide[0]), "it has only to say what it is"
        return attempts.start(wide[0], Application()) is not None

    until(started)
    assert attempts.start(wide[1], Application()) is None
    assert attempts.mpiruns.awaited(wide[1])
    assert not attempts.mpiruns.awaited(task(3, "/bin/true"))
    ended(attempts, 1)
    assert not attempts.mpiruns.awaited(wide[1])
    assert attempts.start(wide[1], Application()) is not None
