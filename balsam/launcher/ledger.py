"""What a launcher did and has yet to commit: journalled first, then written in batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from balsam import states
from balsam.core import backoff, bookkeeping, lease, sessions, step_retries
from balsam.core.advance import Hop, Move, advance
from balsam.core.record import atomic
from balsam.core.step_retries import Failure
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
    """A step of a job in ``old_state`` returned its outcome.

    It is not made again if it is ``final``.
    """

    job: int
    old_state: str
    attempt: int
    outcome: Outcome
    time: float
    kind: str = journal.STEP
    final: bool = False


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
        with atomic():
            if not sessions.hold(self._session):
                raise LeaseLost
            by_rule = told(entries, self._crash_limit)
            entries = [entry for entry in entries if by_rule.get(id(entry), entry)]
            moves = to_moves(without_program(as_told(entries, by_rule)), self._session)
            done = advance(moves)
            if by_rule:
                hold_back(move for move in moves if move.job in done)
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


def node_lost(
    job: int, attempt: int, node: str, why: str, data: Mapping[str, Any], when: float
) -> End:
    """The end of an attempt whose node was lost (``why``: a clause), not counted against the job.

    ``data`` is what else its event keeps. Whether the job is run again is decided when it is
    committed (:func:`losses`).
    """
    outcome = Outcome(
        states.RESTART_READY,
        f"Attempt {attempt} was lost with its node {node} ({why}): will be run again",
        {**data, "cause": states.NODE_LOST, "attempt": attempt, "lost_node": node},
    )
    return End(job, states.RUNNING, attempt, outcome, when)


def told(entries: Sequence[Entry], crash_limit: int) -> dict[int, End | StepEnd | None]:
    """What rules for retries make of some entries: ``id`` of the entry -> what to commit instead.

    None is for what is in the record already.
    """
    return {**losses(entries, crash_limit), **failures(entries)}


def as_told(entries: Iterable[Entry], by_rule: Mapping[int, End | StepEnd | None]) -> list[Entry]:
    """``entries`` with what :func:`told` says of them."""
    known = (by_rule.get(id(entry), entry) for entry in entries)
    return [entry for entry in known if entry]


def failures(entries: Iterable[Entry]) -> dict[int, End | StepEnd | None]:
    """What becomes of steps that failed, and of attempts that could not be prepared."""
    failed = [
        entry
        for entry in entries
        if not isinstance(entry, Start)
        and entry.outcome.state == states.FAILED
        and entry.outcome.data.get("cause") in step_retries.CAUSES
        and not (isinstance(entry, StepEnd) and entry.final)
    ]
    if not failed:
        return {}
    outcomes = step_retries.judged(
        [Failure(entry.job, entry.old_state, entry.outcome, entry.time) for entry in failed]
    )
    return {
        id(entry): replace(entry, outcome=outcome) if outcome else None
        for entry, outcome in zip(failed, outcomes, strict=True)
    }


def losses(entries: Iterable[Entry], crash_limit: int) -> dict[int, End]:
    """What becomes of attempts lost with a node: ``id`` of the entry -> the end to commit.

    At the crash limit, or that of the job's own rule for node_lost, the job fails.
    """
    ends = [
        entry
        for entry in entries
        if isinstance(entry, End)
        and entry.outcome.data.get("cause") == states.NODE_LOST
        and entry.outcome.state == states.RESTART_READY
    ]
    if not ends:
        return {}
    jobs = [end.job for end in ends]
    before = backoff.losses(jobs)
    rules = backoff.losses_allowed(jobs, states.NODE_LOST, crash_limit)
    found = {}
    for end in ends:
        rule = rules.get(end.job)
        if rule:
            outcome = backoff.after_loss(end.outcome, rule, before.get(end.job, 0) + 1, end.time)
            found[id(end)] = replace(end, outcome=outcome)
    return found


def without_program(entries: list[Entry]) -> list[Entry]:
    """``entries``, where a program that was missing is a failed attempt for jobs with a rule.

    Otherwise such jobs fail for good, without an attempt if none could begin.
    """
    ends = {
        entry.job: entry
        for entry in entries
        if isinstance(entry, End)
        and entry.outcome.state == states.FAILED
        and entry.outcome.data.get("cause") == states.PROGRAM_MISSING
    }
    if not ends:
        return entries
    rules = backoff.rules_of(ends, states.PROGRAM_MISSING)
    found: list[Entry] = []
    for entry in entries:
        rule = rules.get(entry.job) if entry is ends.get(entry.job) else None
        if rule is None or not rule.limit or not isinstance(entry, End):
            found.append(entry)
            continue
        attempt = entry.attempt
        if entry.old_state != states.RUNNING:
            found.append(Start(entry.job, entry.old_state, attempt, 0, entry.time))
            attempt += 1
        data = {**entry.outcome.data, "attempt": attempt}
        outcome = Outcome(states.RUN_ERROR, entry.outcome.message, data)
        found.append(End(entry.job, states.RUNNING, attempt, outcome, entry.time))
    return found


def hold_back(moves: Iterable[Move]) -> None:
    """Let jobs wait for the back-off that their moves speak of."""
    for move in moves:
        until = move.hops[-1].data.get("not_before")
        if isinstance(until, str):
            backoff.hold([move.job], datetime.fromisoformat(until))


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
            return_code=code_of(entry),
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
    again = entry.outcome.state == entry.old_state
    return Hop(entry.outcome.state, entry.outcome.message, entry.outcome.data, when, again)


def _plain(entry: Entry) -> dict[str, Any]:
    """The journal's form of an entry: its fields (``asdict`` copies ten times slower)."""
    plain = dict(vars(entry))
    if not isinstance(entry, Start):
        plain["outcome"] = vars(entry.outcome)
    return plain


def code_of(entry: End | StepEnd) -> int | None:
    """The return code that the job has then, if it is another; a try that failed gives it none."""
    code = entry.outcome.data.get("returncode")
    return code if isinstance(code, int) and entry.outcome.state != entry.old_state else None
