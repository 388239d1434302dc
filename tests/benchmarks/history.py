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
    plain = made.database
    job = made.ask("SELECT max(id) FROM balsam_job")
    copied = [name for name in plain.columns("balsam_job") if name not in ("id", "job_id")]
    listed = ", ".join(copied)
    numbers = (
        f"WITH RECURSIVE copy(n) AS (SELECT {job + 1} UNION ALL "
        f"SELECT n + 1 FROM copy WHERE n < {job + rows})"
    )
    key = "printf('%032x', n)" if plain.is_sqlite else "lpad(to_hex(n), 32, '0')::uuid"
    plain.execute("BEGIN IMMEDIATE" if plain.is_sqlite else "BEGIN")
    plain.execute(
        f"{numbers} INSERT INTO balsam_job (id, job_id, {listed}) "
        f"SELECT n, {key}, {listed} FROM copy, balsam_job WHERE balsam_job.id = {job}"
    )
    values = "timestamp, from_state, to_state, message, data"
    plain.execute(
        f"{numbers} INSERT INTO balsam_event (job_id, {values}) SELECT n, {values} FROM copy, "
        f"(SELECT * FROM balsam_event WHERE job_id = {job} AND {which_events} ORDER BY id) life"
    )
    if not plain.is_sqlite:
        plain.execute(f"SELECT setval(pg_get_serial_sequence('balsam_job', 'id'), {job + rows})")
    plain.execute("COMMIT")
    plain.execute("PRAGMA wal_checkpoint(TRUNCATE)" if plain.is_sqlite else "VACUUM ANALYZE")
