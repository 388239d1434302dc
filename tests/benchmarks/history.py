"""Projects with a past: one job's life, copied a million times by the database itself."""

from __future__ import annotations

from tests.benchmarks.project import Bench


def add_finished(made: Bench, rows: int) -> None:
    """Add that many finished jobs, each with all its events."""
    made.python("add_jobs", "1")
    made.run()
    _copy(made, rows, "1 = 1")


def add_waiting(made: Bench, rows: int) -> None:
    """Add that many new jobs, at which no launcher has looked yet."""
    made.python("add_jobs", "1")
    _copy(made, rows, "to_state = 'CREATED'")


def _copy(made: Bench, rows: int, which_events: str) -> None:
    job = made.ask("SELECT max(id) FROM balsam_job")
    columns = [
        name
        for _, name, *_ in made.database.execute("PRAGMA table_info(balsam_job)")
        if name not in ("id", "job_id")
    ]
    listed = ", ".join(columns)
    numbers = (
        f"WITH RECURSIVE copy(n) AS (SELECT {job + 1} UNION ALL "
        f"SELECT n + 1 FROM copy WHERE n < {job + rows})"
    )
    made.database.execute("BEGIN IMMEDIATE")
    made.database.execute(
        f"{numbers} INSERT INTO balsam_job (id, job_id, {listed}) "
        f"SELECT n, printf('%032x', n), {listed} FROM copy, balsam_job WHERE balsam_job.id = {job}"
    )
    values = "timestamp, from_state, to_state, message, data"
    made.database.execute(
        f"{numbers} INSERT INTO balsam_event (job_id, {values}) SELECT n, {values} FROM copy, "
        f"(SELECT * FROM balsam_event WHERE job_id = {job} AND {which_events} ORDER BY id)"
    )
    made.database.execute("COMMIT")
    made.database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
