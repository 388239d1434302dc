"""What a launcher did and has yet to commit: journalled first, then written in batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from balsam import states
from balsam.core import bookkeeping, lease, sessions
from balsam.core.advance import advance
from balsam.core.record import atomic
from balsam.errors import LeaseLost
from balsam.launcher import journal
from balsam.launcher.entries import Entry, Start, to_moves, to_plain
from balsam.launcher.rulings import as_told, hold_back, told, without_program
from balsam.launcher.steps import WANTED

#: More uncommitted entries than this, and nothing new should be started before a commit.
MOST = 5000


@dataclass(frozen=True)
class Committed:
    """What a commit came to.

    ``late`` are entries whose jobs somebody else had moved before; ``runnable`` are jobs that
    became so; ``steps`` says whether jobs may now wait for a step. ``events`` are the newest there
    was before it, and its own last one.
    """

    late: Sequence[Entry] = ()
    runnable: Sequence[int] = ()
    steps: bool = False
    events: tuple[int, int] = (0, 0)


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
        crash_limit: int = 5,
    ) -> None:
        self._journal = book
        self._session = session
        self._max_attempts = max_attempts
        self._crash_limit = crash_limit
        self._afterwards = afterwards
        self._unwritten: list[Entry] = []
        self._pending: list[Entry] = []
        #: A commit failed: whether it was carried out all the same, only the record can tell.
        self._in_doubt = False
        self.oldest = 0.0

    def __len__(self) -> int:
        return len(self._unwritten) + len(self._pending)

    @property
    def is_full(self) -> bool:
        """Whether nothing new should be started before a commit."""
        return len(self) > MOST

    @property
    def in_doubt(self) -> bool:
        """Whether a commit failed of which only the record can tell whether it was carried out."""
        return self._in_doubt

    def add(self, entry: Entry) -> None:
        """Take an entry in; nothing is durable yet."""
        if not self:
            self.oldest = time.monotonic()
        self._unwritten.append(entry)

    def write(self) -> None:
        """Put what is new into the journal; OSError leaves it to be tried again."""
        if self._unwritten:
            self._journal.append(map(to_plain, self._unwritten))
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
        with atomic():
            if not sessions.hold(self._session):
                raise LeaseLost
            before = bookkeeping.last_event()
            by_rule = told(entries, self._crash_limit)
            entries = [entry for entry in entries if by_rule.get(id(entry), entry)]
            moves = to_moves(without_program(as_told(entries, by_rule)), self._session)
            moves = bookkeeping.go_on(moves, self._max_attempts)
            released: set[int] = set()
            done = advance(moves, released)
            if by_rule:
                hold_back(move for move in moves if move.job in done)
            left = {move.job for move in moves if not move.keep_lease and not move.is_final}
            here = bookkeeping.pass_jobs(left & done | released, self._max_attempts)
            if self._afterwards:
                self._afterwards()
            events = (before, bookkeeping.last_event())
        self._in_doubt = False
        self._pending = []
        self._unwritten = []
        self._journal.all_committed()
        return Committed(
            late=[entry for entry in entries if entry.job not in done],
            runnable=[job for job, state in here.items() if state in states.RUNNABLE_STATES],
            steps=not set(here.values()).isdisjoint(WANTED),
            events=events,
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
