"""The launcher's loop, one ``step()`` at a time: what it sleeps for, and never longer."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, transaction

from balsam import states
from balsam.conf.project import Project
from balsam.core import bookkeeping, lease, sessions
from balsam.core.models import BalsamJob, Session
from balsam.core.models.session import LIVE
from balsam.errors import LaunchError, LeaseLost
from balsam.launcher import guard, journal, parts, pilot
from balsam.launcher import ledger as ledgers
from balsam.launcher.entries import End
from balsam.launcher.options import LauncherOptions
from balsam.launcher.pilot import TOLD_SECONDS, Launcher
from balsam.launcher.source import Source
from balsam.launcher.steps import Steps
from balsam.launcher.wakeup import Wakeup
from tests import databases

#: Other processes of the machine may hold up a step for so long.
PATIENCE_SECONDS = 30.0
CORES = len(os.sched_getaffinity(0))


@pytest.fixture
def launcher(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Launcher]:
    monkeypatch.chdir(".")
    with Wakeup() as wakeup:
        found = Launcher(project, LauncherOptions(persistent=True), wakeup)
        yield found
        found.stopping.stop("the test ends")
        step_until(found, found.finished)
        found.shut()


def step_until(launcher: Launcher, condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < give_up, "in vain"
        launcher.step()


def idle(launcher: Launcher) -> bool:
    source = launcher.source
    return not (source.busy or source.dirty or launcher.steps.dirty or len(launcher.ledger))


def test_an_idle_launcher_looks_often(launcher: Launcher) -> None:
    step_until(launcher, lambda: idle(launcher))
    seldom = TOLD_SECONDS if launcher.source.is_told else 0
    often = launcher.settings.launcher.poll_milliseconds / 1000
    assert 0 <= launcher._pause() <= max(seldom, often)


def test_while_the_database_does_not_answer_it_sleeps(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    step_until(launcher, lambda: idle(launcher))
    asked = []

    def fail(*_: object) -> None:
        asked.append(time.monotonic())
        raise OperationalError("away")

    monkeypatch.setattr(lease, "counts", fail)
    launcher._guard.retry_at = time.monotonic() + 600
    launcher._next_look = launcher._progress._next = 0.0
    launcher._next_beat = launcher._next_sessions = time.monotonic() + 600
    for _ in range(3):
        launcher._teller.progress()
    assert len(asked) == 1 and launcher._pause() > 500
    launcher._guard.retry_at = 0.0
    launcher._next_beat = launcher._next_sessions = 0.0
    monkeypatch.undo()


@pytest.mark.parametrize("part", [Source, Steps], ids=lambda part: part.__name__)
def test_a_time_that_comes_while_it_is_asked_for_is_no_time_to_sleep_for(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch, part: type
) -> None:
    step_until(launcher, lambda: idle(launcher))
    answers = [time.monotonic() + 1, None, None]
    monkeypatch.setattr(part, "deadline", property(lambda _: answers.pop(0)))
    assert launcher._pause() <= 1
    monkeypatch.undo()


def test_a_job_of_another_process_is_seen_at_the_next_look(
    launcher: Launcher, script: Callable[..., str]
) -> None:
    step_until(launcher, lambda: idle(launcher))
    script(
        "from balsam.launcher import dag; dag.add_job(name='x', direct_command='sleep 600')",
        BALSAM_DB_PATH=launcher.project.path,
    )
    if launcher.source.is_told:
        launcher._wakeup.wait(600)  # for ever, if it were not told
    assert launcher.source.changed() and launcher.source.busy
    # There is work, so it does not sleep at all until that is done.
    assert launcher._pause() == 0
    step_until(launcher, lambda: len(launcher.attempts))
    # It sleeps, and not for long, unless the machine was so slow that the commit is due by now.
    assert launcher._pause() > 0 or launcher._committer.due(at_once=False)
    assert launcher._pause() <= launcher.settings.launcher.commit_milliseconds / 1000
    step_until(launcher, lambda: BalsamJob.objects.get().state == states.RUNNING)


def test_the_end_of_a_task_wakes_it_and_is_committed_soon(launcher: Launcher) -> None:
    job = BalsamJob.objects.create(name="x", direct_command="/bin/true")
    launcher.source.begin()
    step_until(launcher, lambda: len(launcher.attempts))
    # It would sleep for ever, if the end of its child did not wake it.
    launcher._wakeup.wait(600)
    launcher._reap()
    assert len(launcher.attempts) == 0 and len(launcher.ledger)
    assert launcher._pause() <= launcher.settings.launcher.commit_milliseconds / 1000
    step_until(launcher, lambda: not len(launcher.ledger))
    job.refresh_from_db()
    assert job.state == states.JOB_FINISHED


def test_the_last_outcome_waits_for_no_others(launcher: Launcher) -> None:
    job = BalsamJob.objects.create(name="x", direct_command="/bin/true")
    launcher.source.begin()
    step_until(launcher, lambda: len(launcher.attempts))
    step_until(launcher, lambda: not len(launcher.attempts))
    assert len(launcher.ledger) == 0
    job.refresh_from_db()
    assert job.state == states.JOB_FINISHED


def test_an_end_is_in_the_journal_before_anything_may_wait_for_the_database(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is killed while it waits there must not have forgotten what it alone knows."""
    job = BalsamJob.objects.create(name="x", direct_command="/bin/true")
    launcher.source.begin()
    step_until(launcher, lambda: len(launcher.attempts))
    launcher._committer.write()
    found: list[Any] = []

    def run(action: Callable[[], None]) -> bool:
        if not len(launcher.attempts):
            found.append(ends(launcher))
        return True

    with monkeypatch.context() as patch:
        patch.setattr(launcher._guard, "run", run)
        step_until(launcher, lambda: not len(launcher.attempts))
    assert [entry["job"] for entry in found[0]] == [job.id]


def test_what_a_commit_without_an_answer_released_is_not_begun_twice(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The hook of a job that has run is leased only when it is known what became of the commit."""
    log = tmp_path / "log"
    job = BalsamJob.objects.create(
        name="x", direct_command="/bin/true", postprocess=f"sh -c 'sleep 0.3; echo once >> {log}'"
    )
    begun: list[Any] = []
    submit = launcher.steps.pool.submit
    monkeypatch.setattr(launcher.steps.pool, "submit", lambda spec: begun.append(submit(spec)))
    launcher.source.begin()
    step_until(launcher, lambda: len(launcher.attempts))

    @contextlib.contextmanager
    def deaf() -> Iterator[None]:
        has_ended = any(isinstance(entry, End) for entry in launcher.ledger._pending)
        with transaction.atomic():
            yield
        if has_ended:
            monkeypatch.setattr(ledgers, "atomic", transaction.atomic)
            raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(guard, "RETRY_SECONDS", 0.05)
    launcher._guard._pause = 0.05
    monkeypatch.setattr(ledgers, "atomic", deaf)
    step_until(launcher, lambda: launcher._guard.shaken)
    job.refresh_from_db()
    assert job.state == states.RUN_DONE and job.session_id is None, "the commit was carried out"
    step_until(launcher, launcher.steps.jobs)
    step_until(launcher, lambda: not launcher.steps.jobs() and idle(launcher))
    assert len(begun) == 1 and log.read_text() == "once\n"
    job.refresh_from_db()
    assert job.state == states.JOB_FINISHED


def replacing(launcher: Launcher, number: int) -> None:
    """Jobs of all cores each, leased by the launcher, of which the first runs."""
    tasks = [
        BalsamJob(name=f"t{index}", direct_command="/bin/true", threads_per_rank=CORES)
        for index in range(number)
    ]
    BalsamJob.objects.bulk_create(tasks)
    launcher.source.begin()
    while launcher.source.busy:
        launcher.source.keep_books()
    assert launcher.source.lease(number) == number
    launcher.starter.start()


@pytest.mark.parametrize(("seconds", "steps"), [(600.0, range(1, 10)), (0.0, range(20, 100))])
def test_short_tasks_are_replaced_before_anything_else_but_not_for_ever(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch, seconds: float, steps: range
) -> None:
    replacing(launcher, 40)
    number = 0
    with monkeypatch.context() as patch:
        patch.setattr(pilot, "REPLACING_SECONDS", seconds)
        patch.setattr(launcher, "_pause", lambda: 60.0)
        while launcher.source.stock:
            launcher.step()
            number += 1
    assert number in steps
    step_until(launcher, lambda: not len(launcher.attempts) and not len(launcher.ledger))
    assert BalsamJob.objects.filter(state=states.JOB_FINISHED).count() == 40


def test_what_is_due_is_not_kept_waiting_by_short_tasks(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    replacing(launcher, 3)
    waited: list[float] = []
    with monkeypatch.context() as patch:
        patch.setattr(pilot, "REPLACING_SECONDS", 600.0)
        patch.setattr(launcher._wakeup, "wait", waited.append)
        patch.setattr(launcher, "_pause", lambda: 0.5)
        step_until(launcher, lambda: not launcher.source.stock)
    assert set(waited) == {0.5}


def test_that_a_task_began_is_in_the_journal_before_the_launcher_sleeps(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one that takes its launcher down again and again would not be found out."""
    replacing(launcher, 3)
    path = journal.path_of(Path(launcher.project.journal_dir), launcher.session)

    def wait(seconds: float) -> None:
        begun = [entry for entry in journal.read(path) if entry["kind"] == journal.START]
        assert len(begun) == 3 - len(launcher.source.stock)
        written.append(len(begun))

    written: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(pilot, "REPLACING_SECONDS", 600.0)
        patch.setattr(launcher._committer, "due", lambda at_once: False)
        launcher._committer.write()
        patch.setattr(launcher._wakeup, "wait", wait)
        step_until(launcher, lambda: not launcher.source.stock)
    assert written[-1] == 3


def test_ends_are_in_the_journal_of_a_launcher_that_breaks_down(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(".")
    done, running = (
        BalsamJob.objects.create(name=name, direct_command=command, node_packing_count=2)
        for name, command in (("x", "sleep 0.5"), ("y", "sleep 600"))
    )

    def break_down() -> None:
        raise ZeroDivisionError

    with Wakeup() as wakeup:
        launcher = Launcher(project, LauncherOptions(), wakeup)
        monkeypatch.setattr(launcher._progress, "ended", break_down)
        with pytest.raises(ZeroDivisionError):
            launcher.run()
    assert launcher.attempts.jobs() == {running.id}
    assert [entry["job"] for entry in ends(launcher)] == [done.id]


def ends(launcher: Launcher) -> list[Any]:
    """What the journal of a launcher tells of attempts that ended."""
    path = journal.path_of(Path(launcher.project.journal_dir), launcher.session)
    return [entry for entry in journal.read(path) if entry["kind"] == journal.END]


def test_nothing_is_started_once_it_was_asked_to_stop(launcher: Launcher) -> None:
    BalsamJob.objects.create(name="x", direct_command="/bin/true")
    launcher.source.begin()
    signal.raise_signal(signal.SIGTERM)
    launcher._look()
    launcher.starter.start()
    assert len(launcher.attempts) == 0
    step_until(launcher, launcher.finished)
    assert BalsamJob.objects.get().attempt == 0


def test_an_answer_of_mpirun_that_nobody_waits_for_any_more_is_taken(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its time would be over again and again, and the launcher never sleep."""
    monkeypatch.chdir(".")
    mpirun = tmp_path / "mpirun"
    wait = "while [ ! -f $0.go ]; do sleep 0.01; done"
    mpirun.write_text(f"#!/bin/sh\n{wait}; echo HYDRA build details\n")
    mpirun.chmod(0o755)
    databases.write_settings(project, f"mpi:\n  mpirun: {mpirun}\n")
    job = BalsamJob.objects.create(name="x", direct_command="/bin/true", ranks_per_node=2)
    with Wakeup() as wakeup:
        launcher = Launcher(Project(project.path), LauncherOptions(persistent=True), wakeup)
        step_until(launcher, lambda: launcher._mpi.deadline is not None)
        launcher.source.drop([job.pk])
        (tmp_path / "mpirun.go").touch()
        step_until(launcher, lambda: launcher._mpi.deadline is None)
        assert launcher._mpi.get() is not None
        launcher.shut()


def test_the_backlog_of_runnable_jobs_is_looked_at_once(
    launcher: Launcher, put: Callable[..., None]
) -> None:
    """A full node, and jobs that came to wait before this launcher was there."""
    fits = BalsamJob.objects.create(name="fits", direct_command="/bin/true", ranks_per_node=2)
    wide = BalsamJob.objects.create(name="wide", direct_command="/bin/true", num_nodes=2)
    some = BalsamJob.objects.create(name="gpus", gpus_per_rank=0.25, ranks_per_node=4)
    for job in (fits, wide, some):
        put(job, state=states.RESTART_READY)
    launcher.source.begin()
    while launcher.source.busy:
        launcher.source.keep_books()
    for job in (fits, wide, some):
        job.refresh_from_db()
    assert [job.state for job in (fits, wide, some)] == [
        states.RESTART_READY, states.FAILED, states.FAILED,
    ]  # fmt: skip
    assert "asks for 1 GPU per node; the node has 0 (if there" in some.state_history


def test_what_it_wrote_itself_is_not_looked_through_as_if_others_had(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [BalsamJob.objects.create(name="x", direct_command="/bin/true") for _ in range(3)]
    launcher.source.begin()
    monkeypatch.setattr(bookkeeping, "changed_since", None)
    step_until(launcher, lambda: idle(launcher) and not len(launcher.attempts))
    for job in jobs:
        job.refresh_from_db()
    assert {job.state for job in jobs} == {states.JOB_FINISHED}


def test_what_it_wrote_before_others_came_is_not_looked_through_either(
    launcher: Launcher, script: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    BalsamJob.objects.bulk_create([{"direct_command": "/bin/true"}] * 5)
    launcher.source.begin()
    step_until(launcher, lambda: idle(launcher) and not len(launcher.attempts))
    begun: list[int] = []
    real = bookkeeping.changed_since

    def changed_since(event: int, limit: int) -> tuple[int, list[int], bool]:
        begun.append(event)
        return real(event, limit)

    monkeypatch.setattr(bookkeeping, "changed_since", changed_since)
    before = bookkeeping.last_event()
    script(
        "from balsam.launcher import dag; dag.add_job(name='x', direct_command='/bin/true')",
        BALSAM_DB_PATH=launcher.project.path,
    )
    done = BalsamJob.objects.filter(state=states.JOB_FINISHED)
    step_until(launcher, lambda: done.count() == 6)
    assert begun[0] == before


def test_what_others_did_while_the_database_was_away_is_seen(
    launcher: Launcher, script: Callable[..., str]
) -> None:
    job = BalsamJob.objects.create(name="x", direct_command="sleep 600")
    launcher.source.begin()
    step_until(launcher, lambda: BalsamJob.objects.get().state == states.RUNNING)

    def fail() -> None:
        raise DatabaseError("it is away")

    launcher._guard.run(fail)
    script(
        "from balsam.launcher.dag import BalsamJob; BalsamJob.objects.all().kill()",
        BALSAM_DB_PATH=launcher.project.path,
    )
    step_until(launcher, lambda: not len(launcher.attempts))
    job.refresh_from_db()
    assert job.state == states.USER_KILLED


def test_who_was_suspended_starts_nothing_that_another_has_taken_over(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    replacing(launcher, 3)
    while len(launcher.attempts):
        launcher._reap()
    mine = Session.objects.get(pk=launcher.session)
    assert sessions.claim(mine, sessions.Life("launcher", "h", "m", 1, 1))
    started: list[object] = []
    monkeypatch.setattr(launcher.attempts, "start", lambda *given: started.append(given))
    launcher._sure_until = launcher._next_beat = 0.0
    with pytest.raises(LeaseLost):
        launcher.step()
    assert launcher.source.stock and not started
    Session.objects.filter(pk=launcher.session).update(state=LIVE)
    monkeypatch.undo()


def test_steps_are_only_looked_for_where_some_may_be(launcher: Launcher) -> None:
    """Each look is a transaction of several statements."""
    step_until(launcher, lambda: idle(launcher))
    BalsamJob.objects.create(name="plain", direct_command="/bin/true")
    launcher.source.begin()
    launcher.source.dirty = False
    while launcher.source.busy:
        assert not launcher.source.keep_books()
    assert launcher.source.dirty
    BalsamJob.objects.create(name="staged", direct_command="/bin/true", preprocess="true")
    launcher.source.begin()
    found: list[bool] = []
    while launcher.source.busy:
        found.append(launcher.source.keep_books())
    assert any(found)


def test_children_of_jobs_that_are_too_wide_are_not_forgotten(launcher: Launcher) -> None:
    """They do not mind, and their READY may be written after the last look at events."""
    step_until(launcher, lambda: idle(launcher))
    wide = BalsamJob.objects.create(name="wide", direct_command="/bin/true", num_nodes=99)
    fields = {"parents": [wide], "on_parent_failure": "ignore", "input_files": ""}
    plain = BalsamJob.objects.create(name="plain", direct_command="/bin/true", **fields)
    step = BalsamJob.objects.create(name="step", preprocess="true", **fields)
    bookkeeping.pass_jobs([plain.pk, step.pk], 10)
    launcher.source.dirty = False
    launcher.source.books.look_again()
    assert launcher.source.keep_books()
    assert launcher.source.dirty
    wide.refresh_from_db()
    plain.refresh_from_db()
    step.refresh_from_db()
    assert (wide.state, plain.state, step.state) == (
        states.FAILED, states.PREPROCESSED, states.STAGED_IN,
    )  # fmt: skip


def test_a_lease_that_another_gives_back_is_seen(
    launcher: Launcher, script: Callable[..., str], put: Callable[..., None]
) -> None:
    """No event tells of it."""
    job = BalsamJob.objects.create(name="x", direct_command="/bin/true")
    put(job, state=states.PREPROCESSED)
    other = sessions.open_session(sessions.own_life("launcher"))
    assert lease.take(other, job.pk)
    step_until(launcher, lambda: idle(launcher))
    script(
        "from balsam.launcher import dag; from balsam.core import lease;"
        f"lease.release({other}, [{job.pk}])",
        BALSAM_DB_PATH=launcher.project.path,
    )
    step_until(launcher, lambda: launcher.source.stock or len(launcher.attempts))
    sessions.close_session(other)


@pytest.mark.parametrize("what", ["attempts", "steps"])
def test_a_launcher_that_can_not_begin_leaves_nothing_behind(
    project: Project, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.chdir(".")

    def fail(*given: object) -> None:
        raise LaunchError("There is no way.")

    monkeypatch.setattr(parts, what, fail)
    with Wakeup() as wakeup, pytest.raises(LaunchError, match="no way"):
        Launcher(project, LauncherOptions(), wakeup)
    assert [session.state for session in Session.objects.all()] == ["ended"]
    assert not list(project.journal_dir.iterdir())


def test_a_launcher_that_lost_all_nodes_has_failed(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(".")
    with Wakeup() as wakeup:
        launcher = Launcher(project, LauncherOptions(), wakeup)
        for node in launcher.source.nodes.living:
            launcher.source.nodes.remove(node)
        assert launcher.run() == 1
