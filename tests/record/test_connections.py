"""Connections to the record: forks, servers that hang up, commits whose answer is lost."""

from __future__ import annotations

import contextlib
import enum
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from balsam import states
from balsam.core import lease, sessions
from balsam.core.lease import Scope
from balsam.core.models import BalsamJob, Session
from balsam.core.sessions import Life
from balsam.errors import InvalidValue, LeaseLost
from balsam.launcher import ledger as ledgers
from balsam.launcher.entries import End, Start
from balsam.launcher.journal import Journal
from balsam.launcher.ledger import Ledger
from balsam.outcomes import Outcome
from tests import databases

pytestmark = pytest.mark.usefixtures("project")
LIFE = Life("launcher", "here", "machine", 1, 1)


def runnable(number: int, put: Callable[..., None]) -> list[BalsamJob]:
    made = [BalsamJob.objects.create(name=f"j{index}") for index in range(number)]
    for job in made:
        put(job, state=states.PREPROCESSED)
    return made


def in_fork(act: Callable[[], bool]) -> bool:
    pid = os.fork()
    if not pid:  # pragma: no cover - the other process
        code = 1
        try:
            code = 0 if act() else 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_fork_asks_questions_of_its_own(put: Callable[..., None]) -> None:
    jobs = runnable(3, put)

    def ask() -> bool:
        return all(BalsamJob.objects.get(pk=job.pk).name == job.name for job in jobs)

    assert in_fork(ask)
    assert ask()
    with transaction.atomic():
        BalsamJob.objects.create(name="more")
        assert in_fork(lambda: BalsamJob.objects.count() == 3)
    assert BalsamJob.objects.count() == 4


class Kind(str, enum.Enum):
    ONE = "one"


class Text(str):
    def __str__(self) -> str:
        return "another"


@pytest.mark.parametrize("args", ["C:\\new dir", "a\tb\nc", "\\N", "\\.", "é ☃", "'\"%s{}'"])
def test_texts_of_any_kind_are_kept_as_they_are(args: str) -> None:
    [job] = BalsamJob.objects.bulk_create([BalsamJob(args=Text(args), name=Kind.ONE)])
    job.refresh_from_db()
    assert (job.args, job.name) == (args, "one")
    job.args = Text(f"{args}!")
    job.save()
    job.refresh_from_db()
    assert job.args == f"{args}!"


@pytest.mark.parametrize("text", ["half \ud800", os.fsdecode(b"\xff")])
def test_halves_of_characters_are_refused_in_words(text: str) -> None:
    with pytest.raises(InvalidValue, match="half of a character"):
        BalsamJob.objects.create(args=text)
    with pytest.raises(InvalidValue, match="half of a character"):
        BalsamJob.objects.create(tags={"a": text})


def test_no_more_is_leased_than_was_asked_for(put: Callable[..., None]) -> None:
    runnable(20, put)
    session = sessions.open_session(LIFE)
    for wanted in (1, 2, 5):
        assert len(lease.lease_runnable(session, Scope(), wanted)) == wanted
    assert len(lease.lease_for_steps(session, Scope(), [states.PREPROCESSED], 3)) == 3


@pytest.mark.parametrize("how", ["the task runs on", "it has ended meanwhile"])
def test_a_commit_whose_answer_is_lost_is_not_made_twice(
    project: Any, put: Callable[..., None], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    [job] = runnable(1, put)
    session = sessions.open_session(LIFE)
    lease.lease_runnable(session, Scope(), 1)
    project.journal_dir.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(Journal(Path(project.journal_dir, "j")), session, 10)
    ledger.add(Start(job.pk, states.PREPROCESSED, 0, 4711, 1e9, "run"))

    @contextlib.contextmanager
    def deaf() -> Iterator[None]:
        with transaction.atomic():
            yield
        raise OperationalError("server closed the connection unexpectedly")

    with monkeypatch.context() as patch:
        patch.setattr(ledgers, "atomic", deaf)
        with pytest.raises(OperationalError):
            ledger.commit()
    end = Outcome(states.RUN_DONE, "", {"cause": states.OK, "returncode": 0})
    if how == "it has ended meanwhile":
        ledger.add(End(job.pk, states.RUNNING, 1, end, 1e9 + 1))
    committed = ledger.commit()
    assert not committed.late and not len(ledger)
    if how == "the task runs on":
        assert lease.held(session)[job.pk][:2] == (states.RUNNING, 1)
        ledger.add(End(job.pk, states.RUNNING, 1, end, 1e9 + 1))
        assert not ledger.commit().late
    job.refresh_from_db()
    assert job.state == states.JOB_FINISHED
    assert job.state_history.count(states.RUNNING) == 1


def test_whoever_looks_hears_of_leases_given_back(
    put: Callable[..., None], script: Callable[..., str], project: Any
) -> None:
    runnable(1, put)
    before = lease.data_version()
    script(
        "from balsam.core.models import BalsamJob\n"
        "BalsamJob.source.release(BalsamJob.source.acquire([1]))",
        BALSAM_DB_PATH=project.path,
    )
    assert lease.data_version() != before


IN_VAIN = """
from balsam import states
from balsam.core import lease, sessions
from balsam.core.lease import Scope
from balsam.core.models import BalsamJob
from balsam.core.sessions import Life
session = sessions.open_session(Life("launcher", "h", "m", 1, 1))
assert lease.lease_runnable(session, Scope(), 10) == []
assert lease.lease_for_steps(session, Scope(), [states.READY, states.RUN_DONE], 10) == []
assert BalsamJob.source.acquire([1]) == [] and sessions.beat(session)
"""


@pytest.mark.postgres
def test_nobody_hears_of_leases_asked_for_in_vain(script: Callable[..., str], project: Any) -> None:
    before = lease.data_version()
    script(IN_VAIN, BALSAM_DB_PATH=project.path)
    assert lease.data_version() == before


@pytest.mark.postgres
@pytest.mark.parametrize("told", [False, True])
def test_a_server_that_hung_up_is_asked_again(
    told: bool, script: Callable[..., str], project: Any
) -> None:
    before = lease.data_version()
    backend = connection.connection.info.backend_pid
    if told:  # and then it said farewell
        script(
            "from balsam.launcher import dag; dag.add_job(name='x', direct_command='true')",
            BALSAM_DB_PATH=project.path,
        )
    databases.execute(f"SELECT pg_terminate_backend({backend}, 10000)")
    assert BalsamJob.objects.count() == int(told)
    assert connection.connection.info.backend_pid != backend
    assert lease.data_version() != before


def test_a_launcher_that_was_declared_dead_commits_nothing(
    project: Any, put: Callable[..., None]
) -> None:
    """Not even before its jobs are given out again: their tasks may be ended at this moment."""
    [job] = runnable(1, put)
    session = sessions.open_session(LIFE)
    lease.lease_runnable(session, Scope(), 1)
    project.journal_dir.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(Journal(Path(project.journal_dir, "j")), session, 10)
    ledger.add(Start(job.pk, states.PREPROCESSED, 0, 4711, 1e9, "run"))
    assert sessions.claim(Session.objects.get(pk=session), LIFE)
    with pytest.raises(LeaseLost, match="another has taken its jobs over"):
        ledger.commit()
    assert BalsamJob.objects.states_of([job.pk]) == {job.pk: states.PREPROCESSED}


@pytest.mark.postgres
def test_whoever_stops_in_the_middle_of_a_turn_loses_it(project: Any) -> None:
    """Its rows come in one message; before that it is idle to the server, and not waited for."""
    made = [BalsamJob.objects.create(name=f"j{index}") for index in range(6)]
    statements: list[str] = []

    def note(execute: Any, sql: str, *rest: Any) -> Any:
        statements.append(sql)
        return execute(sql, *rest)

    with connection.execute_wrapper(note):
        made[0].set_parents(made[1:])
        BalsamJob.objects.filter(id__in=[job.pk for job in made]).kill()
    written = [text for text in statements if text.startswith("INSERT INTO balsam_")]
    assert len(written) >= 2 and not any("COPY" in text for text in statements)
    with connection.cursor() as cursor:
        cursor.execute("SHOW idle_in_transaction_session_timeout")
        assert cursor.fetchone() == ("30s",)
    assert made[0].get_parents().count() == 5
