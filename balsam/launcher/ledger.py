"""What a launcher did and has yet to commit: journalled first, then written in batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from balsam import states
from balsam.core import bookkeeping, lease, sessions
from balsam.core.advance import Hop, Move, advance
from balsam.core.record import atomic
from balsam.errors import LeaseLost
from balsam.launcher import journal
from balsam.outcomes import Outcome


@dataclass(frozen=True)
class Start:
    """An attempt began. ``time`` is seconds since the epoch."""

    job: int
    old_state: str
    old_attempt: int
    pid: int
    time: float
    message: str = ""
    kind: str = journal.START

    @property
    def attempt(self) -> int:
        """The number of the attempt that began."""
        return self.old_attempt + 1


@dataclass(frozen=True)
class End:
    """An attempt ended, or (``attempt`` unchanged from ``old_state``) could not begin."""

    job: int
    old_state: str
    attempt: int
    outcome: Outcome
    time: float
    kind: str = journal.END


@dataclass(frozen=True)
class StepEnd:
    """A step of a job in ``old_state`` returned its outcome."""

    job: int
    old_state: str
    attempt: int
    outcome: Outcome
    time: float
    kind: str = journal.STEP


Entry = Start | End | StepEnd
#: Ends of an attempt that are no doing of its own, nor the user's.
_LOST = (states.BATCH_TIME_LIMIT, states.LAUNCHER_LOST, states.NODE_LOST)


@dataclass(frozen=True)
class Committed:
    """What a commit came to.

    ``late`` are entries whose jobs somebody else had moved before; ``runnable`` are jobs that
    became so; ``steps`` says whether jobs may now wait for a step.
    """

    late: Sequence[Entry] = ()
    runnable: Sequence[int] = ()
    steps: bool = False


class Ledger:
    """Entries of one session, on their way into the record.

    ``write`` puts new entries into the journal; ``commit`` moves the jobs, and calls
    ``afterwards`` in the same transaction.
    """

    def __init__(
        self,
        book: journal.Journal,
        session: int,
        max_attempts: int,
        afterwards: Callable[[], None] | None = None,
    ) -> None:
        self._journal = book
        self._session = session
        self._max_attempts = max_attempts
        self._afterwards = afterwards
        self._unwritten: list[Entry] = []
        self._pending: list[Entry] = []
        #: A commit failed: whether it was carried out all the same, only the record can tell.
        self._in_doubt = False
        self.oldest = 0.0

    def __len__(self) -> int:
        return len(self._unwritten) + len(self._pending)

    def add(self, entry: Entry) -> None:
        """Take an entry in; nothing is durable yet."""
        if not self:
            self.oldest = time.monotonic()
        self._unwritten.append(entry)

    def write(self) -> None:
        """Put what is new into the journal; OSError leaves it to be tried again."""
        if self._unwritten:
            self._journal.append(map(_plain, self._unwritten))
            self._pending += self._unwritten
            self._unwritten = []

    def jobs(self) -> set[int]:
        """The jobs of entries that are not committed yet."""
        return {entry.job for entry in (*self._pending, *self._unwritten)}

    def commit(self) -> Committed:
        """Commit all entries in one transaction, also those that the journal would not take.

        Jobs that need no step go on at once. A DatabaseError leaves everything pending, and so does
        LeaseLost: what is pending may tell of what others did to tasks that they took over.
        """
        entries = self._pending + self._unwritten
        if self._in_doubt:
            entries = unknown(entries, lease.held(self._session))
        doubtful, self._in_doubt = self._in_doubt, True
        if not entries and not doubtful:
            self._in_doubt = False
            return Committed()
        moves = to_moves(entries, self._session)
        with atomic():
            if not sessions.hold(self._session):
                raise LeaseLost
            done = advance(moves)
            ended = [move.job for move in moves if move.job in done and not move.keep_lease]
            here = bookkeeping.pass_jobs(ended, self._max_attempts)
            if self._afterwards:
                self._afterwards()
        self._in_doubt = False
        self._pending = []
        self._unwritten = []
        self._journal.all_committed()
        return Committed(
            late=[entry for entry in entries if entry.job not in done],
            runnable=[job for job, state in here.items() if state in states.RUNNABLE_STATES],
            steps=not set(here.values()).isdisjoint(states.PROCESSABLE_STATES),
        )


def unknown(entries: Sequence[Entry], held: Mapping[int, tuple[str, int, int]]) -> list[Entry]:
    """``entries`` without the starts that the record has already, by what the session ``held``."""
    return [
        entry
        for entry in entries
        if not (
            isinstance(entry, Start)
            and held.get(entry.job, ("", 0))[:2] == (states.RUNNING, entry.attempt)
        )
    ]


def to_moves(entries: list[Entry], session: int) -> list[Move]:
    """One move for each job: a start and the end that followed it become one way."""
    moves: dict[int, Move] = {}
    for entry in entries:
        hop = hop_of(entry)
        if isinstance(entry, Start):
            moves[entry.job] = Move(
                job=entry.job,
                old_state=entry.old_state,
                hops=(hop,),
                attempt=entry.old_attempt,
                next_attempt=entry.attempt,
                session=session,
                keep_lease=True,
            )
            continue
        begun = moves.get(entry.job)
        moves[entry.job] = Move(
            job=entry.job,
            old_state=begun.old_state if begun else entry.old_state,
            hops=(*begun.hops, hop) if begun else (hop,),
            attempt=begun.attempt if begun else entry.attempt,
            next_attempt=begun.next_attempt if begun else None,
            session=session,
            return_code=_code(entry.outcome.data),
            lost_attempts=lost(entry),
        )
    return list(moves.values())


def lost(entry: Entry) -> int:
    """1 for the end of an attempt that must not use up the user's attempts, 0 else."""
    if not isinstance(entry, End) or entry.old_state != states.RUNNING:
        return 0
    return int(entry.outcome.data.get("cause") in _LOST)


def hop_of(entry: Entry) -> Hop:
    """The arrow of the state machine that an entry stands for."""
    when = datetime.fromtimestamp(entry.time, timezone.utc)
    if isinstance(entry, Start):
        data = {"attempt": entry.attempt, "pid": entry.pid}
        return Hop(states.RUNNING, entry.message, data, when)
    return Hop(entry.outcome.state, entry.outcome.message, entry.outcome.data, when)


def _plain(entry: Entry) -> dict[str, Any]:
    """The journal's form of an entry: its fields (``asdict`` copies ten times slower)."""
    plain = dict(vars(entry))
    if not isinstance(entry, Start):
        plain["outcome"] = vars(entry.outcome)
    return plain


def _code(data: Mapping[str, Any]) -> int | None:
    code = data.get("returncode")
    return code if isinstance(code, int) else None
