"""The one writer of state.

Every change of a job's state goes through :func:`advance` (each job its own compare-and-swap) or
:func:`advance_set` (one move for many jobs), and writes its event in the same transaction. What
follows from a job's end for its children happens in that transaction too, so no crash can
come between.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import connection

from balsam import states
from balsam.core import history, sql
from balsam.core.record import joined
from balsam.core.sql import Dialect, dialect
from balsam.core.values import UNSTORABLE, storable
from balsam.errors import IllegalMove, InvalidValue

#: What changes in a row and on what condition, in the order of :func:`_values`, and the types.
_CHANGES = {
    "state": "text", "stamp": "timestamptz", "session": "bigint", "attempt": "int", "lost": "int",
    "code": "int", "target": "bigint", "old_state": "text", "old_attempt": "int", "held": "bigint",
}  # fmt: skip
_EVENT = ("job_id", "timestamp", "from_state", "to_state", "message", "data")


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


@dataclass(frozen=True)
class Move:
    """A job's way through one or more hops, valid only from the state that is named.

    ``session`` is the lease the mover holds (None: nobody's). The lease ends with the move unless
    ``keep_lease``. ``attempt`` is the attempt now, ``next_attempt`` the one after the move.
    """

    job: int
    old_state: str
    hops: Sequence[Hop]
    attempt: int = 0
    session: int | None = None
    keep_lease: bool = False
    next_attempt: int | None = None
    lost_attempts: int = 0
    return_code: int | None = None

    @property
    def is_final(self) -> bool:
        """Whether nothing follows on it."""
        return self.hops[-1].state in states.END_STATES


def advance(moves: Iterable[Move], released: set[int] | None = None) -> set[int]:
    """Make Balsam's own moves; the ids of those whose job was as they said. Others change nothing.

    Children that became READY are added to ``released``. Raises IllegalMove, before anything is
    written, for a hop that the state machine does not have.
    """
    moves = list(moves)
    for move in moves:
        _check(move.job, move.old_state, move.hops)
    spell = dialect()
    now = spell.time(history.now())
    with joined():
        moved = _move(moves, now, spell)
        ends = {move.job: move.hops[-1].state for move in moved}
        sql.insert(
            "balsam_event",
            _EVENT,
            [
                event
                for move in moved
                for event in _events(move.job, move.old_state, move.hops, now, spell)
            ],
        )
        follow(ends, released)
    return set(ends)


def _move(moves: Sequence[Move], now: Any, spell: Dialect) -> list[Move]:
    """Update the rows of those moves that hold, in order; which they are."""
    moved: list[Move] = []
    with connection.cursor() as cursor:
        while moves:
            # One statement can change a row once.
            first: dict[int, Move] = {}
            later = [move for move in moves if first.setdefault(move.job, move) is not move]
            values = [_values(move, now, spell) for move in first.values()]
            cursor.execute(_UPDATES[spell], (now, *spell.record_values(values)))
            done = {row[0] for row in cursor.fetchall()}
            moved += [move for job, move in first.items() if job in done]
            moves = later
    return moved


def _update(spell: Dialect) -> str:
    return f"""UPDATE balsam_job AS job SET state = given.state, state_timestamp = given.stamp,
            last_update = %s, session_id = given.session, attempt = given.attempt,
            lost_attempts = job.lost_attempts + given.lost,
            return_code = COALESCE(given.code, job.return_code)
        FROM {spell.recordset(tuple(_CHANGES.items()))}
        WHERE job.id = given.target AND job.state = given.old_state
            AND job.attempt = given.old_attempt AND COALESCE(job.session_id, 0) = given.held
        RETURNING id"""


_UPDATES = {spell: _update(spell) for spell in (sql.Sqlite, sql.Postgres)}


def _values(move: Move, now: Any, spell: Dialect) -> tuple[Any, ...]:
    last = move.hops[-1]
    return (
        last.state,
        spell.time(last.time) if last.time else now,
        move.session if move.keep_lease else None,
        move.attempt if move.next_attempt is None else move.next_attempt,
        move.lost_attempts,
        move.return_code,
        move.job,
        move.old_state,
        move.attempt,
        move.session or 0,
    )


def advance_set(
    ids: Collection[int],
    old_state: str,
    hops: Sequence[Hop],
    actor: str = states.BALSAM,
    *,
    follow_up: bool = True,
    released: set[int] | None = None,
    leased_too: bool = False,
) -> set[int]:
    """Move all of ``ids`` that are in ``old_state``, in one transaction; the ids that moved.

    Balsam moves only what nobody has leased, unless ``leased_too``; a user's move leaves leases to
    their holders, who find the state changed under them. ``follow_up=False`` leaves the children to
    the caller; otherwise those that became READY are added to ``released``.
    """
    _check(None, old_state, hops, actor)
    if not ids:
        return set()
    spell = dialect()
    free = "AND session_id IS NULL" if actor == states.BALSAM and not leased_too else ""
    now = spell.time(history.now())
    with joined(), connection.cursor() as cursor:
        cursor.execute(
            f"""UPDATE balsam_job SET state = %s, state_timestamp = %s, last_update = %s
                WHERE id {spell.among} AND state = %s {free} RETURNING id""",
            (hops[-1].state, now, now, spell.key_list(ids), old_state),
        )
        moved = sorted(row[0] for row in cursor.fetchall())
        if moved:
            _write_for_all(moved, old_state, hops, now, spell)
        if follow_up:
            follow(dict.fromkeys(moved, hops[-1].state), released)
    return set(moved)


def advance_each(hops: Mapping[int, tuple[str, Hop]]) -> set[int]:
    """Balsam's move of many free jobs (id -> the state it is in, its own hop); the ids that moved.

    What follows for their children is left to the caller.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for job, (old, hop) in hops.items():
        _check(job, old, [hop])
        groups.setdefault((old, hop.state), []).append(job)
    spell = dialect()
    now = spell.time(history.now())
    events: list[tuple[Any, ...]] = []
    moved: set[int] = set()
    with joined(), connection.cursor() as cursor:
        for (old, new), jobs in groups.items():
            cursor.execute(
                f"""UPDATE balsam_job SET state = %s, state_timestamp = %s, last_update = %s
                    WHERE id {spell.among} AND state = %s AND session_id IS NULL
                    RETURNING id""",
                (new, now, now, spell.key_list(jobs), old),
            )
            moved.update(row[0] for row in cursor.fetchall())
        for job in sorted(moved):
            old, hop = hops[job]
            events += _events(job, old, (hop,), now, spell)
        sql.insert("balsam_event", _EVENT, events)
    return moved


def follow(ends: Mapping[int, str], released: set[int] | None = None) -> None:
    """Let the end of these jobs (id -> new state) reach their children."""
    from balsam.core import waiting

    finished = [job for job, state in ends.items() if state == states.JOB_FINISHED]
    broken = [job for job, state in ends.items() if state in states.BROKEN_STATES]
    ready: set[int] = set()
    if finished:
        ready |= waiting.release_children(finished)
    if broken:
        ready |= waiting.fail_children(broken)
    if released is not None:
        released |= ready


def note(job: int, state: str, message: str, data: Mapping[str, Any]) -> None:
    """Write an event that moves nothing: how an attempt ended whose job was moved meanwhile."""
    spell = dialect()
    hop = Hop(state, message, data)
    with joined():
        now = spell.time(history.now())
        event = (job, now, state, state, _message(hop), _data(hop))
        sql.insert("balsam_event", _EVENT, [event])


def note_all(jobs: Mapping[int, str], message: str) -> None:
    """Write such an event for those of ``jobs`` (id -> state) that are still in that state."""
    if not jobs:
        return
    spell = dialect()
    now = spell.time(history.now())
    with joined():
        found = sql.rows(
            f"SELECT id, state FROM balsam_job WHERE id {spell.among}", (spell.key_list(jobs),)
        )
        same = [(job, state) for job, state in found if jobs[job] == state]
        sql.insert(
            "balsam_event", _EVENT, [(job, now, state, state, message, "{}") for job, state in same]
        )


def created(first: int, last: int, message: str = "") -> None:
    """Write the first event of the new jobs from id ``first`` to ``last``, in the transaction."""
    spell = dialect()
    with connection.cursor() as cursor:
        cursor.execute(
            f"""INSERT INTO balsam_event ({", ".join(_EVENT)})
                SELECT id, {spell.a_time}, '', '{states.CREATED}', %s, '{{}}' FROM balsam_job
                WHERE id BETWEEN %s AND %s ORDER BY id""",
            (spell.time(history.now()), message, first, last),
        )


def _write_for_all(
    jobs: Collection[int], old: str, hops: Sequence[Hop], now: Any, spell: Dialect
) -> None:
    """Write the same events for each job, in order; the database multiplies them."""
    columns = f"{spell.a_time} AS at, %s AS old, %s AS new, %s AS message, {spell.a_json} AS data"
    tails = _tails(old, hops, now, spell)
    each = " UNION ALL ".join(f"SELECT {place} AS place, {columns}" for place in range(len(tails)))
    with connection.cursor() as cursor:
        cursor.execute(
            f"""INSERT INTO balsam_event ({", ".join(_EVENT)})
                SELECT listed.value, hop.at, hop.old, hop.new, hop.message, hop.data
                FROM {spell.listed} CROSS JOIN ({each}) AS hop ORDER BY listed.value, hop.place""",
            (spell.key_list(jobs), *itertools.chain.from_iterable(tails)),
        )


def _events(
    job: int, old: str, hops: Sequence[Hop], now: Any, spell: Dialect
) -> list[tuple[Any, ...]]:
    """Rows for every hop of a job, in order."""
    return [(job, *tail) for tail in _tails(old, hops, now, spell)]


def _tails(
    old: str, hops: Sequence[Hop], now: Any, spell: Dialect
) -> list[tuple[Any, str, str, Any, str]]:
    """What follows on the job in the row of each hop."""
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


def _check(job: int | None, old: str, hops: Sequence[Hop], actor: str = states.BALSAM) -> None:
    for hop in hops:
        stays = hop.again and hop.state == old
        if not stays and not states.is_legal(old, hop.state, actor):
            allowed = states.MOVES[actor].get(old, ())
            which = f"Job {job}" if job is not None else "A job"
            choice = f"possible: {', '.join(allowed)}" if allowed else f"{old} is final"
            raise IllegalMove(f"{which} can not go from {old} to {hop.state}; {choice}.")
        old = hop.state
