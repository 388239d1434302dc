"""A launcher on several nodes that are not there: nodes that fail, are lost, or can not be used."""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from balsam import states
from balsam.conf.project import Project
from balsam.core.excuse import EXCUSED
from balsam.core.models import BalsamJob, EventLog, Session
from balsam.launcher import health, parts, resources, stopping, suspicion
from balsam.launcher.ensemble import protocol
from balsam.launcher.options import LauncherOptions, Snapshot
from balsam.launcher.pilot import Launcher
from balsam.launcher.wakeup import Wakeup
from balsam.platform.process import RunSpec
from tests import databases
from tests.tools.hands import FakeHands

PATIENCE_SECONDS = 30.0
NODES = ("n1", "n2", "n3", "n4")
Ran = tuple[int, list[Snapshot]]
Stepped = Callable[..., contextlib.AbstractContextManager[Launcher]]


@pytest.fixture
def allocation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Be in a batch job with nodes of these names."""

    def have(*names: str) -> None:
        (tmp_path / "nodes").write_text("".join(f"{name}\n" for name in names))
        monkeypatch.setenv("PBS_NODEFILE", str(tmp_path / "nodes"))

    monkeypatch.chdir(".")
    return have


def run(project: Project) -> Ran:
    told: list[Snapshot] = []
    with Wakeup() as wakeup:
        launcher = Launcher(Project(project.path), LauncherOptions(), wakeup, told.append)
        code = launcher.run()
    return code, told


def on(hands: FakeHands, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have launchers use these hands."""
    workers = SimpleNamespace(flavour=SimpleNamespace(shares_nodes=True))
    monkeypatch.setattr(Launcher, "_workers", lambda self, given: workers)
    monkeypatch.setattr(parts, "hands", lambda *arguments: hands)


def settings(project: Project, **launcher: Any) -> None:
    lines = "".join(f"  {name}: {value}\n" for name, value in launcher.items())
    databases.write_settings(project, f"launcher:\n{lines}")


@pytest.fixture
def jobs(project: Project) -> list[BalsamJob]:
    return BalsamJob.objects.bulk_create(
        [BalsamJob(name=f"j{number}", direct_command="/bin/true") for number in range(80)]
    )


@pytest.fixture
def all_finish(
    project: Project,
    jobs: list[BalsamJob],
    allocation: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[FakeHands], list[Snapshot]]:
    """Run all jobs on four nodes with some hands, to a good end; what was told."""

    def all_finish(hands: FakeHands) -> list[Snapshot]:
        settings(project, cores_per_node=2, idle_exit_seconds=0)
        allocation(*NODES)
        on(hands, monkeypatch)
        code, told = run(project)
        assert code == 0
        assert set(BalsamJob.objects.values_list("state", flat=True)) == {states.JOB_FINISHED}
        return told

    return all_finish


@pytest.fixture
def stepped(
    project: Project,
    jobs: list[BalsamJob],
    allocation: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> Stepped:
    """A launcher of all jobs with some hands, on their nodes of so many cores."""

    @contextlib.contextmanager
    def stepped(hands: FakeHands, cores: int = 1) -> Iterator[Launcher]:
        settings(project, cores_per_node=cores, idle_exit_seconds=0)
        allocation(*sorted(hands.ready_nodes))
        on(hands, monkeypatch)
        with Wakeup() as wakeup:
            yield Launcher(Project(project.path), LauncherOptions(), wakeup)

    return stepped


def step_while(launcher: Launcher, condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + PATIENCE_SECONDS
    while condition():
        assert time.monotonic() < give_up, "in vain"
        launcher.step()


def test_a_node_that_fails_is_set_aside_and_its_tasks_run_elsewhere(
    all_finish: Callable[[FakeHands], list[Snapshot]],
) -> None:
    hands = FakeHands(NODES, failing=["n2"])
    told = all_finish(hands)
    notices = [one.notice for one in told if "failed on n2" in one.notice]
    assert "it gets no more tasks, and those tasks run elsewhere" in notices[0]
    # It is named again at the end, when what was told has scrolled by.
    assert told[-1].final and notices[-1] == told[-1].notice
    assert told[-1].notice.startswith("1 node lost or set aside: n2 (set aside: ")
    failed = Counter(int(token.partition(":")[0]) for token, node, _ in hands.sent if node == "n2")
    assert failed and max(failed.values()) == 1
    # Not one of them has lost an attempt by it.
    for job in BalsamJob.objects.all():
        assert (job.attempt, job.lost_attempts) == ((2, 1) if job.pk in failed else (1, 0))
    excused = {event.job_id for event in EventLog.objects.all() if EXCUSED in (event.data or {})}
    assert excused == set(failed)


def test_a_bad_node_does_not_eat_the_queue_while_nothing_has_ended_elsewhere(
    stepped: Stepped, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the good ones tasks take minutes: until one has ended there is nothing to compare with."""
    hands = FakeHands(NODES, failing=["n2"], holding=["n1", "n3", "n4"])
    with stepped(hands) as launcher:
        nodes = launcher.source.nodes
        step_while(launcher, lambda: nodes.gives("n2") or len(hands.held) < 3 or launcher.ledger)
        assert sum(node == "n2" for _, node, _ in hands.sent) <= 2 * health.LEAST_FAILURES
        # It goes on once that is known, and then there is something to compare it with.
        monkeypatch.setattr(suspicion, "REST_SECONDS", 0.0)
        for token in list(hands.held):
            hands.release(token)
        assert launcher.run() == 0
    assert "n2" in launcher.attempts.gone
    assert set(BalsamJob.objects.values_list("state", flat=True)) == {states.JOB_FINISHED}


def test_the_last_node_is_never_set_aside(stepped: Stepped) -> None:
    """What ended well on nodes that are lost by now is no measure for it."""
    hands = FakeHands(("n1", "n2"))
    with stepped(hands) as launcher:
        latest = launcher._suspicion.health._latest
        step_while(launcher, lambda: not all(len(ends) > 5 for ends in latest.values()))
        hands.dying, hands.failing = ["n1"], ["n2"]
        assert launcher.run() == 0
    assert list(launcher.attempts.gone) == ["n1"]
    left = Counter(BalsamJob.objects.values_list("state", flat=True))
    assert set(left) == {states.JOB_FINISHED, states.FAILED} and left[states.FAILED] > 10


def test_many_bad_inputs_in_a_row_cost_no_node(
    stepped: Stepped, jobs: list[BalsamJob], caplog: pytest.LogCaptureFixture
) -> None:
    """They follow one another on the one core that is free, and then on that of the next node."""
    keys = [job.pk for job in jobs]
    hands = FakeHands(NODES)
    hands.slow, hands.bad = keys[40:47], set(keys[47:77])
    with stepped(hands, cores=2) as launcher:
        step_while(launcher, lambda: "set aside" not in caplog.text)
        assert len(hands.held) == 7, "what runs there goes on"
        # Perhaps nothing else is free to try elsewhere what failed there.
        for token in list(hands.held):
            hands.release(token)
        assert launcher.run() == 0
    assert "fails elsewhere, too" in caplog.text and not launcher.attempts.gone
    failed = BalsamJob.objects.filter(state=states.FAILED)
    assert {job.pk for job in failed} == hands.bad
    assert max(job.lost_attempts for job in failed) <= suspicion.MOST_EXCUSES
    ended = BalsamJob.objects.filter(state=states.JOB_FINISHED)
    assert {job.attempt for job in ended} == {1}, "what ran well was never stopped"


class SlowAgainHands(FakeHands):
    """What failed before takes long where it runs next, until all is to be quick."""

    quick = False

    def start(self, token: str, node: str, spec: RunSpec, after: str = "") -> None:
        self.slow = {protocol.job_of(token)} if token.endswith(":2") and not self.quick else ()
        super().start(token, node, spec, after)


def test_a_trial_ends_in_time_though_nothing_else_happens(stepped: Stepped) -> None:
    """Else a job that needs all nodes waits for one of them for ever."""
    hands = SlowAgainHands(NODES, failing=["n2"])
    with stepped(hands) as launcher:
        trials = launcher._suspicion._trials
        step_while(launcher, lambda: not trials or len(hands.held) < 3 or launcher.ledger)
        assert launcher.source.nodes.has("n2") and list(trials) == ["n2"]
        launcher._next_look = launcher._next_beat = launcher._next_sessions = math.inf
        assert launcher._pause() <= suspicion.TRIAL_SECONDS
        trials["n2"].until = time.monotonic()
        step_while(launcher, lambda: launcher.source.nodes.has("n2"))
        assert len(hands.held) == 3, "nothing has ended meanwhile"
        launcher._next_look = launcher._next_beat = launcher._next_sessions = 0.0
        hands.quick = True
        for token in list(hands.held):
            hands.release(token)
        assert launcher.run() == 0
    assert set(BalsamJob.objects.values_list("state", flat=True)) == {states.JOB_FINISHED}


def test_two_bad_nodes_are_told_from_bad_inputs(
    all_finish: Callable[[FakeHands], list[Snapshot]],
) -> None:
    """Also where what failed on one of them fails again on the other."""
    told = all_finish(FakeHands(NODES, failing=["n1", "n3"]))
    assert told[-1].notice.startswith("2 nodes lost or set aside: n")


def test_tasks_that_a_bad_node_could_not_even_begin_run_elsewhere(
    all_finish: Callable[[FakeHands], list[Snapshot]],
) -> None:
    """As where a file system is not mounted: they fail at once, and are given again."""
    hands = FakeHands(NODES, refusing=["n3"])
    told = all_finish(hands)
    assert told[-1].notice.startswith("1 node lost or set aside: n3 (set aside: ")
    refused = {int(token.partition(":")[0]) for token, node, _ in hands.sent if node == "n3"}
    assert refused
    for job in BalsamJob.objects.all():
        assert (job.attempt, job.lost_attempts) == (1, 0)
        failed = job.events.filter(to_state=states.FAILED).count()
        assert failed == (job.pk in refused)


def test_what_is_stopped_because_its_node_is_set_aside_counts_as_no_loss(
    all_finish: Callable[[FakeHands], list[Snapshot]],
) -> None:
    """It ran well there: neither its rule for lost nodes nor the crash limit is for that."""
    BalsamJob.objects.update(retry={states.NODE_LOST: {"limit": 0}})
    hands = FakeHands(NODES, failing=["n1"], holding=["n1"])
    all_finish(hands)
    assert not hands.held
    stopped = EventLog.objects.get(data__cause=states.NODE_LOST)
    assert stopped.to_state == states.RESTART_READY
    first, *output = stopped.message.splitlines()
    assert first.endswith("; the node n1 was set aside") and output == ["step 12"]
    stopped.job.refresh_from_db()
    assert (stopped.job.attempt, stopped.job.lost_attempts) == (2, 1)


class MuteHands(FakeHands):
    """Nodes that do nothing any more, and do not say that either, until they are lost."""

    def stop(self, token: str, grace_seconds: float) -> None:
        """Nobody hears that."""

    def lose(self) -> None:
        """They are taken for lost, all of them."""
        for token, node, _ in self.sent:
            self._doomed.setdefault(node, []).append(token)


@pytest.mark.parametrize("by_scheduler", [True, False])
def test_what_was_stopped_is_given_up_only_if_the_scheduler_ends_it_too(
    stepped: Stepped, monkeypatch: pytest.MonkeyPatch, by_scheduler: bool
) -> None:
    """Else its node may keep it running until it is taken for lost."""
    monkeypatch.setattr(stopping, "ANSWER_SECONDS", 0.0)
    hands = MuteHands(("n1", "n2"), holding=("n1", "n2"))
    with stepped(hands) as launcher:
        step_while(launcher, lambda: len(hands.held) < 2 or launcher.ledger)
        if by_scheduler:
            launcher.attempts.stop_requested()
        launcher.stopping.stop("its time limit is reached")
        hands.ready_nodes = frozenset()
        for _ in range(20):
            launcher.step()
        assert len(launcher.attempts) == (0 if by_scheduler else 2)
        hands.lose()
        assert launcher.run() == 0
    assert EventLog.objects.filter(to_state=states.RUN_TIMEOUT).count() == 2


@pytest.mark.parametrize("asked", [1, 2])
def test_what_does_not_end_does_not_hold_a_launcher_that_stops(
    stepped: Stepped, monkeypatch: pytest.MonkeyPatch, asked: int
) -> None:
    """Such as a task that hangs in the kernel of a node; who recovers the session has it run again.

    That counts as the loss of its launcher.
    """
    monkeypatch.setattr(stopping, "GIVE_UP_SECONDS" if asked == 1 else "REAP_SECONDS", 0.2)
    hands = MuteHands(("n1", "n2"), holding=("n1", "n2"))
    with stepped(hands) as launcher:
        step_while(launcher, lambda: len(hands.held) < 2 or launcher.ledger)
        launcher.stopping.grace_seconds = 0.0 if asked == 1 else 600.0
        for _ in range(asked):
            launcher.stopping.stop("it was asked to stop")
        step_while(launcher, lambda: not launcher.finished())
        launcher.shut()
    running = BalsamJob.objects.filter(state=states.RUNNING)
    assert running.count() == 2 and {job.session_id for job in running} == {launcher.session}
    assert launcher.stopping.journal.path.exists()
    launcher._recovery.recover(Session.objects.get(pk=launcher.session))
    ends = EventLog.objects.filter(from_state=states.RUNNING)
    assert {end.data["cause"] for end in ends} == {states.LAUNCHER_LOST}
    assert [end.to_state for end in ends] == 2 * [states.RESTART_READY]


def test_what_a_second_signal_kills_is_still_reaped(stepped: Stepped) -> None:
    hands = MuteHands(("n1", "n2"), holding=("n1", "n2"))
    with stepped(hands) as launcher:
        step_while(launcher, lambda: len(hands.held) < 2 or launcher.ledger)
        for _ in range(3):
            launcher.stopping.stop("it was asked to stop")
        assert not launcher.finished()
        hands.lose()
        assert launcher.run() == 0
    assert EventLog.objects.filter(to_state=states.RUN_TIMEOUT).count() == 2
    assert not launcher.stopping.journal.path.exists()


def test_a_lost_node_takes_no_job_with_it_and_is_named(
    all_finish: Callable[[FakeHands], list[Snapshot]],
) -> None:
    hands = FakeHands(NODES, dying=["n4"])
    told = all_finish(hands)
    assert "Node n4 is lost: it is on fire" in [one.notice for one in told]
    assert told[-1].final
    assert told[-1].notice == "1 node lost or set aside: n4 (it is on fire)."


def test_a_job_that_takes_its_node_down_takes_few_others_with_it(
    stepped: Stepped, jobs: list[BalsamJob]
) -> None:
    """Only the keeper dies, so that the node is used again, and by those that were lost with it."""
    keys = [job.pk for job in jobs]
    hands = FakeHands(NODES)
    hands.slow, hands.deadly = keys[:31], keys[31:32]
    failed = BalsamJob.objects.filter(state=states.FAILED)
    with stepped(hands, cores=8) as launcher:
        while not failed.exists():
            step_while(launcher, lambda: not failed.exists() and "3" not in held(hands))
            for token in held(hands).get("3", []):
                hands.release(token)
        hands.slow = ()
        for token in list(hands.held):
            hands.release(token)
        assert launcher.run() == 0
    assert [job.pk for job in failed] == keys[31:32]
    others = BalsamJob.objects.filter(state=states.JOB_FINISHED)
    assert others.count() == 79 and max(job.attempt for job in others) == 3


def held(hands: FakeHands) -> dict[str, list[str]]:
    """Tokens of what runs on and on, by attempt."""
    found: dict[str, list[str]] = {}
    for token in hands.held:
        found.setdefault(token.rpartition(":")[2], []).append(token)
    return found


def test_where_all_is_well_nothing_is_said_of_nodes(
    all_finish: Callable[[FakeHands], list[Snapshot]],
) -> None:
    told = all_finish(FakeHands(NODES))
    assert (told[-1].final, told[-1].notice) == (True, "")


@pytest.mark.parametrize(
    ("name", "names", "here"),
    [
        ("x1.hsn.cm.example", {"x1"}, True),
        ("x1", {"x1"}, True),
        ("x2.hsn.cm.example", {"x1"}, False),
        ("x10", {"x1"}, False),
    ],
)
def test_one_node_by_its_full_name_is_this_one(
    project: Project,
    allocation: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    names: set[str],
    here: bool,
) -> None:
    """No worker, no mpirun and no keeper is needed to run anything on it."""
    allocation(name)
    monkeypatch.setattr(resources, "names_of_this_node", lambda: frozenset(names))
    given = resources.find(project, LauncherOptions())
    assert given.nodes == (name,) and parts.is_here(given) is here


def test_an_mpi_that_can_not_start_is_told_and_nothing_stays_leased(
    project: Project,
    jobs: list[BalsamJob],
    allocation: Callable[..., None],
    tmp_path: Path,
) -> None:
    program = tmp_path / "mpirun"
    program.write_text(
        "#!/bin/sh\n"
        '[ "$1" = --version ] && { echo HYDRA build details; exit 0; }\n'
        "echo no licence >&2; exit 3\n"
    )
    program.chmod(0o755)
    databases.write_settings(project, f"mpi:\n  mpirun: {program}\n")
    allocation("n1", "n2")
    code, told = run(project)
    notices = [one.notice for one in told if "no licence" in one.notice]
    assert code == 1 and notices
    assert any("'balsam launcher --job-mode mpi'" in one for one in notices), notices
    assert Session.objects.get().state == "ended"
    for job in BalsamJob.objects.all():
        assert job.session_id is None and job.state == states.PREPROCESSED
