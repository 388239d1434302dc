"""Leases: jobs given to one session, which alone may commit what becomes of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from django.db import connection

from balsam import states
from balsam.core import history
from balsam.core.lookups import glob_condition, is_glob
from balsam.core.models.session import LIVE
from balsam.core.queue import NO_BOUNDS, ORDERS, WIDE_FIRST, Bounds
from balsam.core.record import joined
from balsam.core.sql import among, column, dialect, in_json, is_sqlite, key_list, quoted, rows

_RUNNABLE = quoted(states.RUNNABLE_STATES)
#: The states of what a launcher runs, or is about to.
_IN_ORDER = quoted((*states.RUNNABLE_STATES, states.RUNNING))
#: A session that was declared dead leases nothing more: nobody would ever free it again.
_STILL_LIVE = f"EXISTS (SELECT 1 FROM balsam_session WHERE id = %s AND state = '{LIVE}')"
#: Jobs that never need an mpirun.
ONE_RANK = "(num_nodes = 1 AND ranks_per_node = 1)"


@dataclass(frozen=True)
class Scope:
    """Which jobs a launcher works on: all, one workflow, those matching a glob, or one job.

    With ``tags``, only those among them whose tags contain these names with these values.
    """

    workflow: str = ""
    job: int | None = None
    tags: tuple[tuple[str, str], ...] = ()

    @property
    def index(self) -> str:
        """Has SQLite read runnable jobs in order; of its own choice it would sort them all."""
        if connection.vendor != "sqlite" or self.job is not None:
            return ""
        one = self.workflow and not is_glob(self.workflow)
        return f"INDEXED BY balsam_job_runnable{'_workflow' if one else ''}"

    def sql(self, table: str = "") -> tuple[str, tuple[Any, ...]]:
        """A condition and its parameters."""
        if self.job is not None:
            return f"{table}.id = %s" if table else "id = %s", (self.job,)
        conditions, parameters = [], []
        if self.workflow:
            column = f"{table}.workflow" if table else "workflow"
            condition, parameter = self._of_workflow(column)
            conditions.append(condition)
            parameters.append(parameter)
        for tag in self.tags:
            conditions.append(_tagged(f"{table}.tags" if table else "tags"))
            parameters.extend(tag)
        return " AND ".join(conditions) or "1 = 1", tuple(parameters)

    def _of_workflow(self, column: str) -> tuple[str, str]:
        if is_glob(self.workflow):
            return glob_condition(column, self.workflow, connection.vendor)
        return f"{column} = %s", self.workflow


def _tagged(column: str) -> str:
    """Whether a tag is there with a value; as in a selection, which compares them as text."""
    if connection.vendor != "sqlite":
        return f"{column} ->> %s = %s"
    text = "CASE WHEN type IN ('true', 'false') THEN type ELSE CAST(value AS TEXT) END"
    return f"EXISTS (SELECT 1 FROM json_each({column}) WHERE key = %s AND {text} = %s)"


#: What a launcher needs to know of a job to run it.
RUN_COLUMNS = (
    "id",
    "job_id",
    "workflow",
    "name",
    "state",
    "attempt",
    "lost_attempts",
    "app_id",
    "direct_command",
    "args",
    "environ_vars",
    "num_nodes",
    "ranks_per_node",
    "threads_per_rank",
    "threads_per_core",
    "node_packing_count",
    "gpus_per_rank",
    "mpi_flags",
    "wall_time_minutes",
    "time_limit_minutes",
    "workdir",
    "user_workdir",
    "launch_params",
    "cpu_affinity",
    "signal",
    "signal_before_min",
)
_COLUMN = {name: index for index, name in enumerate(("priority", *RUN_COLUMNS))}


def lease_runnable(
    session: int,
    scope: Scope,
    limit: int,
    *,
    serial_only: bool = False,
    without_mpi: bool = False,
    bounds: Bounds = NO_BOUNDS,
    sort_by: str = WIDE_FIRST,
) -> list[tuple[Any, ...]]:
    """Lease up to ``limit`` runnable jobs within ``bounds``, first by priority, then ``sort_by``.

    ``serial_only`` leaves jobs of more than one rank, ``without_mpi`` those of them that mpirun has
    to start. For any order but the default, :func:`balsam.core.queue.prepare` has been called.
    Returns their ``RUN_COLUMNS``, in that order.
    """
    where, parameters = scope.sql()
    if serial_only:
        where += f" AND {ONE_RANK}"
    elif without_mpi:
        where += f" AND {_no_mpi()}"
    within, numbers = bounds.sql()
    spell = dialect()
    order = ORDERS[sort_by]
    index = scope.index
    if index and sort_by != WIDE_FIRST:
        index = f"INDEXED BY {order.index}"
    chosen = f"""SELECT id FROM balsam_job {index} WHERE state IN ({_RUNNABLE})
        AND session_id IS NULL AND {_STILL_LIVE} AND {where}{within}
        AND (not_before IS NULL OR not_before <= %s)
        ORDER BY {order.sql} LIMIT %s {spell.skip_locked}"""
    with joined(), connection.cursor() as cursor:
        now = spell.time(history.now())
        found = _lease_chosen(
            cursor,
            session,
            chosen,
            (session, *parameters, *numbers, now, limit),
            ("priority", *RUN_COLUMNS),
        )
    found.sort(key=lambda row: order.key(row, _COLUMN))
    return [tuple(row[1:]) for row in found]


def _lease_chosen(
    cursor: Any, session: int, chosen: str, parameters: Sequence[Any], wanted: Sequence[str]
) -> list[tuple[Any, ...]]:
    """Lease the jobs that a query chooses; the ``wanted`` columns of them.

    Postgres tells all who listen of an UPDATE, also of one that touches no row: launchers with
    nothing to do would wake each other for ever.
    """
    if is_sqlite():
        which = f"IN ({chosen})"
    else:
        cursor.execute(chosen, parameters)
        ids = [row[0] for row in cursor.fetchall()]
        if not ids:
            return []
        which, parameters = f"{among()} AND {_STILL_LIVE}", (key_list(ids), session)
    cursor.execute(
        f"UPDATE balsam_job SET session_id = %s WHERE id {which} RETURNING {', '.join(wanted)}",
        (session, *parameters),
    )
    return list(cursor.fetchall())


def next_due(
    scope: Scope, since: datetime, wanted: Sequence[str] = states.RUNNABLE_STATES
) -> datetime | None:
    """When the next of the jobs in the ``wanted`` states may go on that could not ``since``.

    That is a moment before one looked for jobs to lease, so that none comes due unseen.
    """
    where, parameters = scope.sql()
    index = "INDEXED BY balsam_job_not_before" if is_sqlite() else ""
    found: list[datetime] = column(
        f"""SELECT not_before FROM balsam_job {index} WHERE not_before > %s
            AND state IN ({quoted(wanted)}) AND session_id IS NULL AND {where}
            ORDER BY not_before LIMIT 1""",
        (dialect().time(since), *parameters),
    )
    # SQLite keeps times in UTC without saying so.
    return found[0].replace(tzinfo=timezone.utc) if found else None


def left(scope: Scope, bounds: Bounds, *, serial_only: bool = False) -> int:
    """Free runnable jobs in scope, with ``serial_only`` of one rank, that are not within bounds."""
    within, limits = bounds.sql()
    among = ONE_RANK if serial_only else "1 = 1"
    return _free(scope, f"{among} AND NOT (1 = 1{within})", limits)


def waiting(scope: Scope, most: int) -> int:
    """Free jobs of one node in scope that wait for no other job, counted up to ``most``.

    Of new jobs it is not known whether they do, so they count if there are no dependencies at all.
    """
    where, parameters = scope.sql()
    some = rows("SELECT 1 FROM balsam_dependency LIMIT 1")
    new = () if some else (states.CREATED,)
    on_the_way = quoted((*new, states.READY, states.STAGED_IN, *states.RUNNABLE_STATES))
    return int(
        rows(
            f"""SELECT count(*) FROM (SELECT 1 FROM balsam_job WHERE state IN ({on_the_way})
                AND session_id IS NULL AND num_nodes = 1
                AND (not_before IS NULL OR not_before <= %s) AND {where} LIMIT %s) found""",
            (dialect().time(history.now()), *parameters, most),
        )[0][0]
    )


def left_for_mode(scope: Scope) -> int:
    """Free runnable jobs in scope that ``serial_only`` leaves."""
    return _free(scope, f"NOT {ONE_RANK}")


def left_for_mpi(scope: Scope, *, every: bool = False) -> int:
    """Free runnable jobs in scope that only an mpirun can start; with ``every`` that is all."""
    return _free(scope, "1 = 1" if every else f"NOT {_no_mpi()}")


def _free(scope: Scope, condition: str, parameters: Sequence[Any] = ()) -> int:
    where, limits = scope.sql()
    return int(
        rows(
            f"""SELECT count(*) FROM balsam_job WHERE state IN ({_RUNNABLE})
                AND session_id IS NULL AND {where} AND {condition}""",
            (*limits, *parameters),
        )[0][0]
    )


def _no_mpi() -> str:
    # launch_params may say that a program of more than one rank calls mpirun itself.
    no = "0" if is_sqlite() else "'false'"
    return f"({ONE_RANK} OR COALESCE({in_json('launch_params', 'mpirun')} = {no}, FALSE))"


def take(session: int, job: int) -> bool:
    """Lease one free job, whatever its state."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""UPDATE balsam_job SET session_id = %s
                WHERE id = %s AND session_id IS NULL AND {_STILL_LIVE}""",
            (session, job, session),
        )
        return bool(cursor.rowcount)


def lease_for_steps(
    session: int, scope: Scope, wanted: Sequence[str], limit: int
) -> list[tuple[int, str]]:
    """Lease up to ``limit`` free jobs that wait in one of the ``wanted`` states: (id, state)."""
    where, parameters = scope.sql()
    spell = dialect()
    chosen = f"""SELECT id FROM balsam_job WHERE state = %s
        AND session_id IS NULL AND {_STILL_LIVE} AND {where}
        AND (not_before IS NULL OR not_before <= %s)
        ORDER BY id LIMIT %s {spell.skip_locked}"""
    now = spell.time(history.now())
    leased: list[tuple[Any, ...]] = []
    with joined(), connection.cursor() as cursor:
        for state in wanted:
            if len(leased) >= limit:
                break
            number = limit - len(leased)
            values = (state, session, *parameters, now, number)
            leased += _lease_chosen(cursor, session, chosen, values, ("id", "state"))
    return leased


def release(session: int, ids: Collection[int]) -> None:
    """Give leases back without moving anything."""
    with joined(), connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE balsam_job SET session_id = NULL WHERE session_id = %s AND id {among()}",
            (session, key_list(ids)),
        )


def held(session: int, jobs: Collection[int] | None = None) -> dict[int, tuple[str, int, int]]:
    """What a session holds (of some ``jobs``): id -> (state, attempt, lost attempts)."""
    statement = "SELECT id, state, attempt, lost_attempts FROM balsam_job WHERE session_id = %s"
    parameters: tuple[Any, ...] = (session,)
    if jobs is not None:
        statement += f" AND id {among()}"
        parameters += (key_list(jobs),)
    return {row[0]: (row[1], row[2], row[3]) for row in rows(statement, parameters)}


def number_held(session: int) -> int:
    """How many jobs a session holds; of an index alone, so cheap also for very many."""
    found: list[int] = column("SELECT count(*) FROM balsam_job WHERE session_id = %s", (session,))
    return found[0]


def moved_since(session: int, event: int) -> dict[int, str]:
    """Jobs of which something was written after ``event`` and that are not what a session runs.

    Job -> its state, '' if the session does not hold it.
    """
    found = rows(
        f"""SELECT DISTINCT job.id, job.state, job.session_id
            FROM balsam_event event JOIN balsam_job job ON job.id = event.job_id
            WHERE event.id > %s
            AND NOT (COALESCE(job.session_id, 0) = %s AND job.state IN ({_IN_ORDER}))""",
        (event, session),
    )
    return {job: state if holder == session else "" for job, state, holder in found}


def counts(scope: Scope) -> dict[str, int]:
    """State -> number of jobs in scope."""
    where, parameters = scope.sql()
    return dict(
        rows(f"SELECT state, count(*) FROM balsam_job WHERE {where} GROUP BY state", parameters)
    )


def data_version() -> int:
    """A number that changes when another connection has committed."""
    return int(connection.heard())


def listener() -> Any:
    """What becomes readable (``fileno()``) when another connection has committed.

    None where one has to look at :func:`data_version` now and then, or has not looked yet.
    """
    return connection.listener()
