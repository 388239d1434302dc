"""The one writer of state.

Every change of a job's state goes through :func:`advance` (each job its own compare-and-swap) or
:func:`advance_set` (one move for many jobs), and writes its event in the same transaction. What
follows from a job's end for its children happens in that transaction too, so no crash can
come between.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection

from balsam import states
from balsam.core import events, history, sql
from balsam.core.events import Hop
from balsam.core.record import joined
from balsam.core.sql import Dialect, dialect
from balsam.errors import IllegalMove

#: What changes in a row and on what condition, in the order of :func:`_values`, and the types that
#: Postgres has to be told. None is an ``id``: RETURNING has to name that of the row, by this alone.
_CHANGES = {
    "state": "text", "stamp": "timestamptz", "session": "bigint", "attempt": "int", "lost": "int",
    "code": "int", "target": "bigint", "old_state": "text", "old_attempt": "int", "held": "bigint",
}  # fmt: skip


@dataclass(frozen=True)
class Move:
    """A job's way through one or more hops, valid only from the state that is named.

    ``further`` hops follow on those, without a time of their own. Moves that share one object of
    them have their events written by one statement; they are of different jobs.
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
    further: Sequence[Hop] = ()

    @property
    def last(self) -> Hop:
        """The hop that leads to where the job is afterwards."""
        return (self.further or self.hops)[-1]

    @property
    def is_final(self) -> bool:
        """Whether nothing follows on it."""
        return self.last.state in states.END_STATES


def advance(moves: Iterable[Move], released: set[int] | None = None) -> set[int]:
    """Make Balsam's own moves; the ids of those whose job was as they said. Others change nothing.

    Children that became READY are added to ``released``. Raises IllegalMove, before anything is
    written, for a hop that the state machine does not have.
    """
    moves = list(moves)
    for move in moves:
        _check(move.job, move.old_state, (*move.hops, *move.further))
    spell = dialect()
    now = spell.time(history.now())
    with joined():
        moved = _move(moves, now, spell)
        ends = {move.job: move.last.state for move in moved}
        events.write(
            [
                row
                for move in moved
                for row in events.rows_of(move.job, move.old_state, move.hops, now, spell)
            ]
        )
        _write_further(moved, now, spell)
        follow(ends, released)
    return set(ends)


def _write_further(moves: Iterable[Move], now: Any, spell: Dialect) -> None:
    """Write the events of the ``further`` hops."""
    alike: dict[tuple[str, int], list[Move]] = {}
    for move in moves:
        if move.further:
            alike.setdefault((move.hops[-1].state, id(move.further)), []).append(move)
    for (old, _), group in alike.items():
        jobs = [move.job for move in group]
        events.write_for_all(jobs, old, group[0].further, now, spell)


def _move(moves: Sequence[Move], now: Any, spell: Dialect) -> list[Move]:
    """Update the rows of those moves that hold, in order; which they are."""
    moved: list[Move] = []
    with connection.cursor() as cursor:
        while moves:
            # One statement can change a row once.
            first: dict[int, Move] = {}
            later: list[Move] = []
            for move in moves:
                if move.job in first:
                    later.append(move)
                else:
                    first[move.job] = move
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
    last = move.last
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
        # By their keys: a page would cost Postgres a look at all that are in the state.
        cursor.execute(
            f"""UPDATE balsam_job SET state = %s, state_timestamp = %s, last_update = %s
                WHERE id {spell.among} AND COALESCE(state, '') = %s {free} RETURNING id""",
            (hops[-1].state, now, now, spell.key_list(ids), old_state),
        )
        moved = sorted(row[0] for row in cursor)
        if moved:
            events.write_for_all(moved, old_state, hops, now, spell)
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
    moved: set[int] = set()
    with joined(), connection.cursor() as cursor:
        for (old, new), jobs in groups.items():
            cursor.execute(
                f"""UPDATE balsam_job SET state = %s, state_timestamp = %s, last_update = %s
                    WHERE id {spell.among} AND state = %s AND session_id IS NULL
                    RETURNING id""",
                (new, now, now, spell.key_list(jobs), old),
            )
            moved.update(row[0] for row in cursor)
        in_order = sorted(moved)
        for start in range(0, len(in_order), sql.ROWS):
            written: list[events.Row] = []
            for job in in_order[start : start + sql.ROWS]:
                old, hop = hops[job]
                written += events.rows_of(job, old, (hop,), now, spell)
            events.write(written)
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


def _check(job: int | None, old: str, hops: Sequence[Hop], actor: str = states.BALSAM) -> None:
    for hop in hops:
        stays = hop.again and hop.state == old
        if not stays and not states.is_legal(old, hop.state, actor):
            allowed = states.MOVES[actor].get(old, ())
            which = f"Job {job}" if job is not None else "A job"
            choice = f"possible: {', '.join(allowed)}" if allowed else f"{old} is final"
            raise IllegalMove(f"{which} can not go from {old} to {hop.state}; {choice}.")
        old = hop.state
