"""What happens to a job in a launcher, one entry each: as the journal keeps it, and as a move."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from balsam import states
from balsam.core.advance import Move
from balsam.core.events import Hop
from balsam.launcher import journal
from balsam.outcomes import Outcome

#: Ends of an attempt that are no doing of its own, nor the user's.
_LOST = (states.BATCH_TIME_LIMIT, states.LAUNCHER_LOST, states.NODE_LOST)


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


def attempt_before(entry: Entry) -> int:
    """The attempt a job had before this happened."""
    return entry.old_attempt if isinstance(entry, Start) else entry.attempt


def lost(entry: Entry) -> int:
    """1 for the end of an attempt that must not use up the user's attempts, 0 else."""
    if not isinstance(entry, End) or entry.old_state != states.RUNNING:
        return 0
    return int(entry.outcome.data.get("cause") in _LOST)


def to_plain(entry: Entry) -> dict[str, Any]:
    """The journal's form of an entry: its fields (``asdict`` copies ten times slower)."""
    plain = dict(vars(entry))
    if not isinstance(entry, Start):
        plain["outcome"] = vars(entry.outcome)
    return plain


def from_plain(plain: dict[str, Any]) -> Entry | None:
    """The entry that a journal line holds; None for a line nobody here wrote."""
    plain = dict(plain)
    kind = plain.get("kind")
    try:
        if kind == journal.START:
            return Start(**plain)
        plain["outcome"] = Outcome(**plain["outcome"])
        if kind == journal.END:
            return End(**plain)
        if kind == journal.STEP:
            return StepEnd(**plain)
    except (TypeError, KeyError):
        pass
    return None


def hop_of(entry: Entry) -> Hop:
    """The arrow of the state machine that an entry stands for."""
    when = datetime.fromtimestamp(entry.time, timezone.utc)
    if isinstance(entry, Start):
        data = {"attempt": entry.attempt, "pid": entry.pid}
        return Hop(states.RUNNING, entry.message, data, when)
    again = entry.outcome.state == entry.old_state
    return Hop(entry.outcome.state, entry.outcome.message, entry.outcome.data, when, again)


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


def code_of(entry: End | StepEnd) -> int | None:
    """The return code that the job has then, if it is another; that of a hook is not the job's."""
    code = entry.outcome.data.get("returncode")
    return code if isinstance(code, int) and isinstance(entry, End) else None
