"""What others do with jobs that a launcher holds, seen without reading all that it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from balsam import states
from balsam.conf.project import Project
from balsam.core import bookkeeping
from balsam.core.models import BalsamJob
from balsam.launcher import disputes
from balsam.launcher.options import LauncherOptions
from balsam.launcher.pilot import Launcher
from balsam.launcher.wakeup import Wakeup

from .test_launcher_loop import step_until

Put = Callable[..., None]


@pytest.fixture
def launcher(project: Project, put: Put, monkeypatch: pytest.MonkeyPatch) -> Iterator[Launcher]:
    """One that runs a job and holds three others, and takes that for very many."""
    monkeypatch.chdir(".")
    monkeypatch.setattr(disputes, "FEW", 0)
    with Wakeup() as wakeup:
        found = Launcher(project, LauncherOptions(persistent=True), wakeup)
        for name in "abcd":
            job = BalsamJob.objects.create(name=name, direct_command="/bin/sleep 600")
            put(job, state=states.PREPROCESSED, node_packing_count=1)
        found.source.nodes.rest(found.source.nodes.living[0])
        found.source.begin()
        found.source.lease(4)
        found.source.nodes.resume(found.source.nodes.living[0])
        found.attempts.start(found.source.stock[0], found.source.application(None))
        found.source.stock.popleft()
        found._disputes._reconcile()
        yield found
        found.stopping.stop("the test ends")
        step_until(found, found.finished)
        found.shut()


def job(name: str) -> BalsamJob:
    return BalsamJob.objects.get(name=name)


def test_what_others_kill_is_seen_by_its_events(launcher: Launcher) -> None:
    running, waiting = job("a"), job("c")
    running.update_state(states.USER_KILLED)
    waiting.update_state(states.USER_KILLED)
    with CaptureQueriesContext(
        connection,
    ) as asked:
        launcher._disputes._reconcile()
    assert launcher.attempts._running[running.pk].stopping == states.KILLED
    assert [task.name for task in launcher.source.stock] == ["b", "d"]
    every = [query for query in asked.captured_queries if "lost_attempts FROM" in query["sql"]]
    assert not every, "all that is held was read"


def test_what_others_delete_is_missed(launcher: Launcher) -> None:
    job("a").delete()
    job("d").delete()
    launcher._disputes._reconcile()
    assert [run.stopping for run in launcher.attempts._running.values()] == [states.KILLED]
    assert [task.name for task in launcher.source.stock] == ["b", "c"]


def test_what_nobody_touched_stays(launcher: Launcher) -> None:
    BalsamJob.objects.create(name="another")
    launcher._disputes._reconcile()
    assert [task.name for task in launcher.source.stock] == ["b", "c", "d"]
    assert not any(run.stopping for run in launcher.attempts._running.values())


@pytest.mark.parametrize("back", bookkeeping.SENT_BACK)
def test_a_rescued_job_is_nobody_elses_before_its_attempts_are_counted(
    launcher: Launcher, put: Put, back: str
) -> None:
    rescued = job("b")
    put(rescued, state=back, attempt=1, max_attempts=1)
    launcher.source.drop({rescued.pk})

    def break_off(execute: Any, sql: str, *rest: Any) -> Any:
        if "max_attempts" in sql:
            raise OperationalError("server closed the connection unexpectedly")
        return execute(sql, *rest)

    with connection.execute_wrapper(break_off), pytest.raises(OperationalError):
        launcher._disputes.release({rescued.pk}, {rescued.pk})
    rescued.refresh_from_db()
    assert rescued.session_id == launcher.session
    launcher._disputes.release({rescued.pk}, {rescued.pk})
    rescued.refresh_from_db()
    assert rescued.state == states.FAILED
