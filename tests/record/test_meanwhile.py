"""A launcher that waits for a commit on a server has its tasks end, and starts others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from django.db import connection

from balsam import states
from balsam.conf.project import Project
from balsam.core import record
from balsam.core.models import BalsamJob
from balsam.launcher import journal
from balsam.launcher.options import LauncherOptions
from balsam.launcher.pilot import Launcher
from balsam.launcher.wakeup import Wakeup
from tests import databases
from tests.tools.waiting import until

pytestmark = pytest.mark.postgres
#: More than the emulated node runs at a time.
NUMBER = 6


@pytest.fixture
def others_write(project: Project) -> Callable[[Callable[[], object]], threading.Thread]:
    """Have somebody else keep the turn until a condition holds."""
    begun = threading.Event()

    def hold(condition: Callable[[], object]) -> None:
        with databases.held(project.path):
            begun.set()
            until(condition)

    def start(condition: Callable[[], object]) -> threading.Thread:
        thread = threading.Thread(target=hold, args=(condition,))
        thread.start()
        assert begun.wait(30)
        return thread

    return start


def test_tasks_end_and_begin_while_a_commit_waits(
    project: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    others_write: Callable[[Callable[[], object]], threading.Thread],
) -> None:
    monkeypatch.chdir(".")
    for number in range(NUMBER):
        wait = f"while [ ! -f {tmp_path}/{number} ]; do sleep 0.01; done"
        command = f"/bin/sh -c 'echo {number} >> {tmp_path}/begun; {wait}'"
        BalsamJob.objects.create(name=str(number), direct_command=command, node_packing_count=2)
    begun = tmp_path / "begun"

    def number_begun() -> int:
        return len(begun.read_text().splitlines()) if begun.exists() else 0

    with Wakeup() as wakeup:
        launcher = Launcher(project, LauncherOptions(), wakeup)
        step_until(launcher, lambda: number_begun() == 2)
        launcher.source.lease(NUMBER)
        assert len(launcher.source.stock) == NUMBER - 2
        (tmp_path / begun.read_text().split()[0]).touch()
        until(launcher._reap)
        thread = others_write(lambda: number_begun() == NUMBER)
        for number in range(NUMBER):
            (tmp_path / str(number)).touch()
        launcher._commit()
        thread.join()
        # All of them ran, and what became of them since stands in the journal.
        left = journal.read(launcher.ledger._journal.path)
        assert {entry["kind"] for entry in left} == {journal.START, journal.END}
        assert launcher.run() == 0
    assert BalsamJob.objects.counts_by_state() == {states.JOB_FINISHED: NUMBER}


def step_until(launcher: Launcher, condition: Callable[[], object]) -> None:
    until(lambda: launcher.step() or condition())


def test_nothing_is_asked_of_a_server_that_has_yet_to_answer(project: Project) -> None:
    told: list[str] = []

    def doze(answer: int) -> None:
        with pytest.raises(AssertionError) as found:
            connection.cursor()
        told.append(str(found.value))

    with record.meanwhile(doze):
        assert BalsamJob.objects.count() == 0
    assert told and all("has yet to answer" in line for line in told)
    assert BalsamJob.objects.count() == 0
