"""Make a campaign in the middle of its life: ``python -m tests.benchmarks.campaign PROJECT``.

Jobs and edges go the way of all new jobs; their states and histories are then written set-wise, by
a few statements for tens of thousands of jobs. The same seed makes the same jobs, graph and fates
(so a project takes each seed once); the last of them happened a few minutes ago.
"""

from __future__ import annotations

import argparse
import gc
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.benchmarks.options import CAMPAIGN_ROWS

BATCH = 50_000
#: When the jobs were created, they, and what became of them.
Batch = tuple[float, Sequence[Any], Sequence[Any]]
#: Of the campaign's own time: how many jobs began in a second, and when the last one did.
RATE, AGO = 5.0, 900.0
_TABLES = """
CREATE TEMPORARY TABLE campaign_fate (place INTEGER PRIMARY KEY, job BIGINT, kind INTEGER,
    created DOUBLE PRECISION, ready DOUBLE PRECISION, wall DOUBLE PRECISION, who TEXT);
CREATE TEMPORARY TABLE campaign_hop (kind INTEGER, number INTEGER, early INTEGER,
    fixed DOUBLE PRECISION, walls INTEGER, old TEXT, new TEXT, message TEXT, data TEXT);
CREATE TEMPORARY TABLE campaign_life (kind INTEGER PRIMARY KEY, state TEXT, attempt INTEGER,
    lost INTEGER, code INTEGER, session BIGINT, early INTEGER, fixed DOUBLE PRECISION,
    walls INTEGER);
CREATE INDEX campaign_hop_kind ON campaign_hop (early, kind, number)
"""
#: One life after the other, in the order in which they began, which is about that of time.
_EVENTS = """
INSERT INTO balsam_event (job_id, timestamp, from_state, to_state, message, data)
SELECT job, {time}, old, new, replace(message, '<who>', who), {data} FROM (
    SELECT fate.job, fate.wall, fate.who, hop.old, hop.new, hop.message, hop.data,
        fate.{origin} + hop.fixed + hop.walls * fate.wall AS seconds
    FROM campaign_fate fate JOIN campaign_hop hop ON hop.kind = fate.kind AND hop.early = {early}
    ORDER BY fate.place, hop.number) life
"""
_JOBS = """
UPDATE balsam_job SET state = ended.state, attempt = ended.attempt, lost_attempts = ended.lost,
    return_code = ended.code, session_id = ended.session, state_timestamp = {time},
    last_update = {time}
FROM (SELECT fate.job, life.state, life.attempt, life.lost, life.code, life.session,
        CASE life.early WHEN 1 THEN fate.created ELSE fate.ready END
            + life.fixed + life.walls * fate.wall AS seconds
    FROM campaign_fate fate JOIN campaign_life life ON life.kind = fate.kind) ended
WHERE balsam_job.id = ended.job
"""


def fill(number: int, seed: int) -> None:
    """Add ``number`` jobs to the project at hand."""
    from django.db import connection, transaction

    from balsam.core import insert
    from balsam.core.models import BalsamJob
    from tests.benchmarks.campaign_graph import Plan

    begin = time.time() - AGO - number / RATE
    _prepare(connection)
    gc.disable()  # which goes through all the rows at hand, again and again
    for created, rows, fates in _ahead(_planned(Plan(number, seed), begin)):
        with transaction.atomic():
            before = _last("balsam_job"), _last("balsam_event")
            insert.stream(BalsamJob, rows)
            _write(connection, fates, created, before)
    gc.enable()
    if connection.vendor != "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")  # as the server would have done by itself meanwhile
    connection.close()


def _ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Each batch is made while the database is busy with the one before."""
    with ThreadPoolExecutor(1) as maker:
        coming = maker.submit(next, batches, None)
        while batch := coming.result():
            coming = maker.submit(next, batches, None)
            yield batch


def _planned(plan: Any, begin: float) -> Iterator[Batch]:
    workflows = plan.workflows()
    while plan.made < plan.number:
        created = begin + plan.made / RATE
        made: list[Any] = []
        while len(made) < BATCH and (workflow := next(workflows, None)):
            made += plan.jobs(*workflow, created + len(made) / RATE, 1 / RATE)
        rows, fates = zip(*made, strict=True)
        yield created, rows, fates


def _prepare(connection: Any) -> None:
    """Applications, the launcher that holds what runs, and the lives as tables."""
    from balsam.core import sessions
    from balsam.core.models import ApplicationDefinition
    from tests.benchmarks import campaign_graph, campaign_lives

    for name in campaign_graph.APPS:
        if not ApplicationDefinition.objects.filter(name=name).exists():
            ApplicationDefinition.register(name=name, executable="/bin/true")
    session = sessions.open_session(sessions.Life("launcher", "login1", "elsewhere", 4711, 1))
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA cache_size = -500000")
        else:  # the references of so many new rows are not looked up: they are right
            cursor.execute("SET session_replication_role = replica")
            cursor.execute("SET synchronous_commit = off")
        for statement in _TABLES.split(";"):
            cursor.execute(statement)
        cursor.executemany(
            "INSERT INTO campaign_hop VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (kind, number, int(step.early), step.fixed, step.walls, before, step.state,
                 step.message, step.data)
                for kind, number, step, before in campaign_lives.hops()
            ],
        )  # fmt: skip
        cursor.executemany(
            "INSERT INTO campaign_life VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (campaign_lives.kind(index, parents), life.state, life.attempts, life.lost,
                 life.return_code, session if life.leased else None, int(life.steps[-1].early),
                 *life.seconds)
                for index, life in enumerate(campaign_lives.LIVES) if life.steps
                for parents in (False, True)
            ],
        )  # fmt: skip


def _write(connection: Any, fates: Sequence[Any], created: float, before: tuple[int, int]) -> None:
    """Give the jobs above ``before`` their states and histories."""
    sqlite = connection.vendor == "sqlite"
    time = (
        "strftime('%%Y-%%m-%%d %%H:%%M:%%f', {}, 'unixepoch') || '000'"
        if sqlite
        else "to_timestamp({})"
    )
    data = "replace(replace(data, '<who>', who), '<wall>', CAST(wall AS TEXT))"
    if not sqlite:
        data = f"CAST({data} AS JSONB)"
    with connection.cursor() as cursor:
        _write_fates(cursor, sqlite, fates, created, before[0])
        at_creation = time.format("%s")
        cursor.execute(
            f"UPDATE balsam_event SET timestamp = {at_creation} WHERE id > %s",
            (created, before[1]),
        )
        cursor.execute(
            f"UPDATE balsam_job SET state_timestamp = {at_creation}, last_update = {at_creation} "
            "WHERE id IN (SELECT job FROM campaign_fate WHERE kind IN (0, 1))",
            (created, created),
        )
        moment = time.format("seconds")
        cursor.execute(_JOBS.format(time=moment), ())
        for early, origin in ((1, "created"), (0, "ready")):
            statement = _EVENTS.format(time=moment, data=data, early=early, origin=origin)
            cursor.execute(statement, ())


def _write_fates(
    cursor: Any, sqlite: bool, fates: Sequence[Any], created: float, before: int
) -> None:
    """One row for each job above ``before``, in the order in which they began."""
    from balsam.core.sql import column

    keys = column("SELECT id FROM balsam_job WHERE id > %s ORDER BY id", (before,))
    ordered = sorted(zip(keys, fates, strict=True), key=lambda one: one[1].ready)
    rows = [
        (place, key, fate.kind, created, fate.ready, fate.wall, fate.who)
        for place, (key, fate) in enumerate(ordered)
    ]
    cursor.execute("DELETE FROM campaign_fate")
    if sqlite:
        cursor.executemany("INSERT INTO campaign_fate VALUES (%s, %s, %s, %s, %s, %s, %s)", rows)
        return
    with cursor.copy("COPY campaign_fate FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
    cursor.execute("ANALYZE campaign_fate")


def _last(table: str) -> int:
    from balsam.core.sql import column

    return column(f"SELECT max(id) FROM {table}")[0] or 0


def main() -> None:
    program = "python -m tests.benchmarks.campaign"
    parser = argparse.ArgumentParser(prog=program, description=__doc__)
    parser.add_argument("project", type=Path, help="a project that 'balsam init' made")
    parser.add_argument("--jobs", type=int, default=CAMPAIGN_ROWS)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    os.environ["BALSAM_DB_PATH"] = str(given.project.resolve())
    begin = time.perf_counter()
    fill(given.jobs, given.seed)
    print(given.jobs / (time.perf_counter() - begin))


if __name__ == "__main__":
    main()
