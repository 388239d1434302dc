"""Events: what is written of each change of a job, in the transaction that makes it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import connection

from balsam import states
from balsam.core import history, sql
from balsam.core.record import joined
from balsam.core.sql import Dialect, dialect
from balsam.core.values import UNSTORABLE, storable
from balsam.errors import InvalidValue

_COLUMNS = ("job_id", "timestamp", "from_state", "to_state", "message", "data")
#: Values of them, as the database takes them.
Row = tuple[int, Any, str, str, Any, str]
_INTO = f"INSERT INTO balsam_event ({', '.join(_COLUMNS)})"


@dataclass(frozen=True)
class Hop:
    """One arrow of the state machine, with what its event says. ``time`` is UTC, aware.

    With ``again`` it leads nowhere: the job stays in its state, for another try.
    """

    state: str
    message: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    time: datetime | None = None
    again: bool = False


def write_for_all(
    jobs: Collection[int], old: str, hops: Sequence[Hop], now: Any, spell: Dialect
) -> None:
    """Write the same events for each job, in order; the database multiplies them."""
    columns = f"{spell.a_time} AS at, %s AS old, %s AS new, %s AS message, {spell.a_json} AS data"
    tails = _tails(old, hops, now, spell)
    each = " UNION ALL ".join(f"SELECT {place} AS place, {columns}" for place in range(len(tails)))
    with connection.cursor() as cursor:
        cursor.execute(
            f"""{_INTO} SELECT listed.value, hop.at, hop.old, hop.new, hop.message, hop.data
                FROM {spell.listed} CROSS JOIN ({each}) AS hop ORDER BY listed.value, hop.place""",
            (spell.key_list(jobs), *itertools.chain.from_iterable(tails)),
        )


def rows_of(job: int, old: str, hops: Sequence[Hop], now: Any, spell: Dialect) -> list[Row]:
    """Rows for every hop of a job, in order."""
    return [(job, *tail) for tail in _tails(old, hops, now, spell)]


def write(rows: Sequence[Row]) -> None:
    """Write events, in order."""
    sql.insert("balsam_event", _COLUMNS, rows)


def note(job: int, state: str, message: str, data: Mapping[str, Any]) -> None:
    """Write an event that moves nothing: how an attempt ended whose job was moved meanwhile."""
    spell = dialect()
    hop = Hop(state, message, data)
    with joined():
        now = spell.time(history.now())
        event = (job, now, state, state, _message(hop), _data(hop))
        write([event])


def note_all(jobs: Mapping[int, str], message: str) -> None:
    """Write such an event for those of ``jobs`` (id -> state) that are still in that state."""
    if not jobs:
        return
    spell = dialect()
    now = spell.time(history.now())
    told = storable(message)
    with joined():
        found = sql.rows(
            f"SELECT id, state FROM balsam_job WHERE id {spell.among}", (spell.key_list(jobs),)
        )
        same = [(job, state) for job, state in found if jobs[job] == state]
        write([(job, now, state, state, told, "{}") for job, state in same])


def created(first: int, last: int, message: str = "") -> None:
    """Write the first event of the new jobs from id ``first`` to ``last``, in the transaction."""
    _write_where("id BETWEEN %s AND %s", (first, last), "''", f"'{states.CREATED}'", message)


def note_held(session: int, message: str) -> int:
    """Write an event that moves nothing for each job that a session holds; how many."""
    return _write_where("session_id = %s", (session,), "state", "state", message)


def _write_where(
    condition: str, parameters: tuple[int, ...], old: str, new: str, message: str
) -> int:
    """Write an event for each job for which a condition holds; ``old`` and ``new`` are SQL, too."""
    spell = dialect()
    with connection.cursor() as cursor:
        cursor.execute(
            f"""{_INTO} SELECT id, {spell.a_time}, {old}, {new}, %s, '{{}}' FROM balsam_job
                WHERE {condition} ORDER BY id""",
            (spell.time(history.now()), storable(message), *parameters),
        )
        return int(cursor.rowcount)


def _tails(
    old: str, hops: Sequence[Hop], now: Any, spell: Dialect
) -> list[tuple[Any, str, str, Any, str]]:
    """The columns of each hop's event, but for the job."""
    found = []
    for hop in hops:
        time = spell.time(hop.time) if hop.time else now
        found.append((time, old, hop.state, _message(hop), _data(hop)))
        old = hop.state
    return found


def _message(hop: Hop) -> Any:
    if not isinstance(hop.message, str):
        raise InvalidValue(f"The message of an event is text, not {hop.message!r}.")
    return storable(hop.message)


def _data(hop: Hop) -> str:
    if not hop.data:
        return "{}"
    try:
        given = dict(hop.data)
        with contextlib.suppress(TypeError):  # of mappings that are no dicts, perhaps
            text = sql.encoded(given)
            if not UNSTORABLE(text):
                return text
        return sql.encoded(storable(given))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidValue(
            f"The data of an event is a dict that can be stored as JSON, not {hop.data!r}: {error}."
        ) from error
