"""Every kind of damage is found, by its name and with its rows; a record in use is clean."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from hypothesis import settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from balsam import states
from balsam.conf.project import Project
from balsam.core import bookkeeping, lease, sessions
from balsam.core.advance import Move, advance
from balsam.core.care import fsck
from balsam.core.care.fsck import Finding
from balsam.core.events import Hop
from balsam.core.models import BalsamJob, Dependency
from balsam.core.sessions import Life
from balsam.errors import DatabaseUnavailable

from .test_random_moves import Record

Plant = Callable[..., None]
LIFE = Life("launcher", "host", "machine", 1, 1)


pytestmark = pytest.mark.sqlite


@pytest.fixture
def jobs(project: Project) -> list[Any]:
    """A campaign that has come some way: parents and children, one runs, one failed."""
    first, second, third = BalsamJob.objects.bulk_create(
        [BalsamJob(name=name, direct_command="true") for name in ("first", "second", "third")]
    )
    second.set_parents([first])
    bookkeeping.pass_jobs([first.id, second.id, third.id], 10)
    session = sessions.open_session(LIFE)
    lease.lease_runnable(session, lease.Scope(), 1)
    start = Hop(states.RUNNING, "", {"attempt": 1})
    assert advance([Move(first.id, states.PREPROCESSED, [start], 0, session, True, 1)])
    return [first, second, third]


@pytest.fixture
def plant(project: Project) -> Plant:
    """Change the database behind the back of everything that keeps it right."""

    def plant(*statements: str) -> None:
        connection.close()
        database = sqlite3.connect(project.database_file, isolation_level=None)
        database.execute("PRAGMA foreign_keys = OFF")
        database.execute("PRAGMA ignore_check_constraints = ON")
        for statement in statements:
            database.execute(statement)
        database.close()

    return plant


def found(project: Project) -> dict[str, Finding]:
    report = fsck.check(project.database_file)
    return {finding.check: finding for finding in report.findings if not finding.sound}


def test_a_new_project_and_one_at_work_are_clean(project: Project, jobs: list[Any]) -> None:
    report = fsck.check(project.database_file)
    assert report.sound, report
    assert report.rows["balsam_job"] == 3 and report.rows["balsam_dependency"] == 1
    assert [finding.examples for finding in report.findings if finding.examples] == []


#: What is planted, what finds it, and words of the example. Jobs are 1 (runs), 2 (waits), 3.
PLANTED = [
    (
        "UPDATE balsam_job SET state = 'READY' WHERE id = 3",
        "state-of-events",
        "job 3 is READY, its newest event says PREPROCESSED",
    ),
    ("DELETE FROM balsam_event WHERE job_id = 3", "state-of-events", "job 3 is PREPROCESSED"),
    (
        "DELETE FROM balsam_event WHERE job_id = 3 AND to_state = 'STAGED_IN'",
        "history",
        "job 3 went from 'STAGED_IN' to PREPROCESSED after READY",
    ),
    (
        "UPDATE balsam_event SET from_state = 'READY' WHERE job_id = 3 AND from_state = ''",
        "history",
        "job 3 went from 'READY' to CREATED after no event",
    ),
    (
        """INSERT INTO balsam_event (job_id, timestamp, from_state, to_state, message, data)
           VALUES (3, '2026-01-01 00:00:00', 'PREPROCESSED', 'RUN_DONE', '', '{}')""",
        "moves",
        "job 3 went from PREPROCESSED to RUN_DONE",
    ),
    ("UPDATE balsam_job SET state = 'BROKEN' WHERE id = 3", "known-states", "job 3 is 'BROKEN'"),
    (
        "UPDATE balsam_event SET to_state = 'X' WHERE id = 1",
        "known-states",
        "event 1 is 'X'",
    ),
    ("UPDATE balsam_session SET state = 'gone'", "known-states", "session 1 is 'gone'"),
    ("UPDATE balsam_job SET session_id = NULL", "running", "job 1"),
    ("UPDATE balsam_session SET state = 'ended'", "leases", "job 1 is leased by session 1"),
    ("UPDATE balsam_job SET session_id = 99 WHERE id = 3", "leases", "job 3 is leased by"),
    ("UPDATE balsam_job SET session_id = 99 WHERE id = 3", "references", "balsam_job row 3 names"),
    ("INSERT INTO balsam_dependency (child_id, parent_id) VALUES (3, 77)", "references", "names a"),
    ("UPDATE balsam_event SET job_id = 55 WHERE id = 1", "events", "event 1 is of job 55"),
    ("UPDATE balsam_job SET attempt = 4 WHERE id = 1", "attempts", "job 1 is at attempt 4, its"),
    ("UPDATE balsam_job SET lost_attempts = 2", "lost-attempts", "job 1 has lost 2 of 1"),
    (
        "INSERT INTO balsam_dependency (child_id, parent_id) VALUES (1, 2)",
        "cycles",
        "job 1",
    ),
    ("INSERT INTO balsam_dependency (child_id, parent_id) VALUES (3, 3)", "cycles", "job 3"),
    (
        "UPDATE balsam_job SET state = 'FAILED' WHERE id = 1",
        "broken-parents",
        "job 2 waits for job 1, which is FAILED",
    ),
    ("DELETE FROM balsam_dependency", "waiting", "job 2"),
    (
        "UPDATE sqlite_sequence SET seq = 1 WHERE name = 'balsam_job'",
        "numbering",
        "balsam_job has a row 3, and has given out 1",
    ),
    ("DROP INDEX balsam_job_runnable", "tables", "index balsam_job_runnable is missing"),
    ("DROP TABLE balsam_batch_job", "tables", "table balsam_batch_job is missing"),
    ("ALTER TABLE balsam_app DROP COLUMN envscript", "tables", "balsam_app.envscript is missing"),
    ("PRAGMA user_version = 99", "tables", "schema 99; this Balsam knows"),
    ("PRAGMA user_version = 1", "tables", "schema 1; this Balsam needs"),
    ("UPDATE balsam_job SET data = 'no json' WHERE id = 3", "structure", "CHECK constraint failed"),
]


@pytest.mark.parametrize(("statement", "check", "words"), PLANTED)
def test_planted_damage_is_found(
    project: Project, jobs: list[Any], plant: Plant, statement: str, check: str, words: str
) -> None:
    plant(statement)
    broken = found(project)
    assert check in broken, broken
    assert any(words in example for example in broken[check].examples), broken[check]
    assert broken[check].repair
    assert broken[check].count == len(broken[check].examples)


def test_two_jobs_of_one_uuid_are_found(project: Project, jobs: list[Any], plant: Plant) -> None:
    plant(
        "CREATE TABLE copied AS SELECT * FROM balsam_job",
        "DROP TABLE balsam_job",
        "ALTER TABLE copied RENAME TO balsam_job",
        "UPDATE balsam_job SET job_id = (SELECT job_id FROM balsam_job WHERE id = 1)",
        *(f"CREATE INDEX {index.name} ON balsam_job (state)" for index in BalsamJob._meta.indexes),
    )
    example = found(project)["unique-ids"].examples[0]
    assert example == f"job_id {jobs[0].job_id.hex} is that of 3 jobs"


def test_a_damaged_page_is_found(project: Project, jobs: list[Any], plant: Plant) -> None:
    BalsamJob.objects.bulk_create([{"name": f"n{number}" * 50} for number in range(2000)])
    plant("PRAGMA wal_checkpoint(TRUNCATE)")
    size = project.database_file.stat().st_size
    with project.database_file.open("r+b") as file:
        file.seek(size // 2 // 4096 * 4096)
        file.write(b"\xff" * 4096)
    broken = found(project)
    assert broken["structure"].count >= 1
    assert "balsam restore" in broken["structure"].repair


def test_a_file_that_is_no_database_is_refused(project: Project) -> None:
    connection.close()
    project.database_file.write_bytes(b"not a database" * 1000)
    with pytest.raises(DatabaseUnavailable, match="balsam restore"):
        fsck.check(project.database_file)
    project.database_file.unlink()
    with pytest.raises(DatabaseUnavailable, match="no database file"):
        fsck.check(project.database_file)


def test_of_many_the_first_few_are_named(project: Project, jobs: list[Any], plant: Plant) -> None:
    BalsamJob.objects.bulk_create([{"name": f"n{number}"} for number in range(100)])
    plant("UPDATE balsam_job SET attempt = 1 WHERE id > 3")
    finding = found(project)["attempts"]
    assert finding.count == 100 and len(finding.examples) == fsck.EXAMPLES


def test_children_that_ignore_broken_parents_may_wait(
    project: Project, jobs: list[Any], plant: Plant
) -> None:
    other = BalsamJob.objects.create(name="other")
    Dependency.objects.create(child_id=jobs[1].id, parent_id=other.id)
    BalsamJob.objects.filter(id=jobs[1].id).update(on_parent_failure="ignore")
    other.update_state(states.FAILED)
    assert found(project) == {}


class Watched(Record):
    """Whatever is done, the rules hold that do not depend on who holds what."""

    #: The moves made here are not those of a launcher: it runs only what it has leased, and has
    #: only those wait that have parents.
    FREE = ("running", "waiting")

    @invariant()
    def rules_hold(self) -> None:
        from balsam.core.place import current_project

        report = fsck.check(current_project().database_file)
        assert [
            finding
            for finding in report.findings
            if not finding.sound and finding.check not in self.FREE
        ] == []


def test_the_rules_hold_whatever_is_done(project: Project) -> None:
    quick = settings(max_examples=10, stateful_step_count=20, deadline=None)
    run_state_machine_as_test(Watched, settings=quick)
