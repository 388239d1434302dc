"""Recovery: what a dead session left behind, brought to its true end.

Its journal is read, its processes are ended, then the journal is replayed, and only then is the
rest given out again. Each move is a compare-and-swap on the dead session's lease, so recovering
twice is harmless.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from balsam import states
from balsam.core import backoff, bookkeeping, history, lease, sessions
from balsam.core.advance import Hop, Move, advance, note
from balsam.core.backoff import Rule
from balsam.core.models import Session
from balsam.core.sessions import Life
from balsam.launcher import journal, ledger
from balsam.launcher.ensemble.search import orphan_seconds
from balsam.launcher.ledger import End, Entry, Start, StepEnd, code_of, hop_of, lost
from balsam.outcomes import Outcome
from balsam.platform import node, process

logger = logging.getLogger(__name__)

#: What tasks elsewhere need to end once it is known that their launcher is dead.
END_SECONDS = 5.0
SESSION_MARK = "BALSAM_SESSION"


def mark(project: str, session: int) -> str:
    """The value of ``SESSION_MARK`` that every process of a session carries."""
    return f"{project}:{session}"


@dataclass(frozen=True)
class Loss:
    """The ``number``-th loss of a job that was running, the rule for that (None: the crash limit),
    and the host where the attempt may go on ('' if it can not).
    """

    number: int
    rule: Rule | None = None
    host: str = ""


class Recovery:
    """Finds dead sessions of a project and recovers them, on behalf of a living process."""

    def __init__(
        self,
        project: str,
        journals: Path,
        life: Life,
        *,
        lease_seconds: float,
        crash_limit: int,
        max_attempts: int,
        grace_seconds: float,
        patience_seconds: float = 0.0,
    ) -> None:
        """``patience_seconds``: how long the heartbeat of another machine's session has to stand
        still before our eyes; our two clocks may not agree, or one of them may have been set.
        """
        self._project = project
        self._journals = journals
        self._life = life
        self._lease_seconds = lease_seconds
        self._crash_limit = crash_limit
        self._max_attempts = max_attempts
        self._grace_seconds = grace_seconds
        self._patience_seconds = patience_seconds
        #: Session -> its last heartbeat, and when (monotonic) we first saw that.
        self._seen: dict[int, tuple[Any, float]] = {}
        #: Session -> when (monotonic) we first saw that its process is dead.
        self._dead: dict[int, float] = {}
        #: A session is dead, and will soon be recovered.
        self.waiting = False

    def run(self, own_session: int | None) -> int:
        """Recover every dead session but our own; how many there were."""
        recovered = 0
        self.waiting = False
        for session in sessions.others(own_session):
            if self.is_dead(session) and sessions.claim(session, self._life):
                self.recover(session)
                recovered += 1
        return recovered

    def tidy(self) -> None:
        """Remove journals of sessions that ended, but were killed before they could do that."""
        journals = list(self._journals.glob("session-*.jsonl"))
        # Asked for after that: a session is there before its journal is.
        kept = {journal.path_of(self._journals, session.pk) for session in sessions.others(None)}
        for path in journals:
            if path not in kept:
                path.unlink(missing_ok=True)

    def is_dead(self, session: Session) -> bool:
        """By its process, where that can be looked at; by its heartbeat otherwise.

        A jump of the time of day kills nobody: on this machine heartbeats are compared by a clock
        that nobody sets, and elsewhere they have to stand still while we look.
        """
        here = session.machine == self._life.machine
        if here and not node.process_alive(session.pid, session.pid_start):
            return self._quiet_elsewhere(session)
        if here:
            return sessions.expired(session, self._lease_seconds)
        still = self._still_for(session)
        if still > self._lease_seconds:
            return True
        # It may be dead: then its jobs are soon to be had.
        late = (history.now() - session.heartbeat).total_seconds()
        self.waiting |= late > self._patience_seconds
        return still >= self._patience_seconds and sessions.expired(session, self._lease_seconds)

    def _quiet_elsewhere(self, session: Session) -> bool:
        """Whether the tasks of a session whose process is dead have ended on its other nodes too.

        Who watches them there ends them as soon as the launcher is missed.
        """
        if session.offer.get("nodes", 0) <= 1:
            return True
        since = self._dead.setdefault(int(session.pk), time.monotonic())
        missed = orphan_seconds(self._lease_seconds) + END_SECONDS
        quiet = time.monotonic() - since >= missed
        self.waiting |= not quiet
        return quiet

    def _still_for(self, session: Session) -> float:
        """For how many seconds we have seen no heartbeat of this session."""
        now = time.monotonic()
        key = int(session.pk)
        if self._seen.get(key, (None,))[0] != session.heartbeat:
            self._seen[key] = (session.heartbeat, now)
        return now - self._seen[key][1]

    def recover(self, session: Session) -> None:
        """Bring the jobs of a claimed session to where they really are."""
        key = int(session.pk)
        path = journal.path_of(self._journals, key)
        entries: dict[int, list[Entry]] = {}
        # Read before its tasks are ended: a launcher that is not dead, but late, would add that.
        for plain in journal.read(path):
            entry = _entry(plain)
            if entry:
                entries.setdefault(entry.job, []).append(entry)
        survivors = process.marked_processes(SESSION_MARK, mark(self._project, key))
        if survivors:
            logger.warning("session %s left %d processes behind", key, len(survivors))
            process.end_processes(survivors, self._grace_seconds)
        held = lease.held(key)
        moves = self._true_ends(session, held, entries)
        moved = advance(moves)
        ledger.hold_back(move for move in moves if move.job in moved)
        self._tell_killed(held, entries)
        sessions.close_session(key)
        bookkeeping.pass_jobs(held, self._max_attempts)
        path.unlink(missing_ok=True)
        logger.warning("recovered session %s: %d of %d leased jobs", key, len(moved), len(held))

    def _true_ends(
        self,
        session: Session,
        held: dict[int, tuple[str, int, int]],
        entries: dict[int, list[Entry]],
    ) -> list[Move]:
        told = ledger.told(
            [entry for several in entries.values() for entry in several], self._crash_limit
        )
        crashes = backoff.losses(held)
        rules = backoff.losses_allowed(held, states.LAUNCHER_LOST, self._crash_limit)
        running_on = self._running_on(session)
        moves = []
        for job, row in held.items():
            known = ledger.without_program(ledger.as_told(entries.get(job, ()), told))
            loss = Loss(crashes.get(job, 0) + 1, rules.get(job), running_on)
            moves.append(self._true_end(int(session.pk), job, row, known, loss))
        return [move for move in moves if move]

    def _running_on(self, session: Session) -> str:
        """The host where attempts of the session may go on: one whose processes we can not see."""
        host = str(session.lock).rpartition(":")[0]
        return "" if host == self._life.host or not host else host

    def _true_end(
        self,
        session: int,
        job: int,
        row: tuple[str, int, int],
        entries: Sequence[Entry],
        loss: Loss,
    ) -> Move | None:
        """From where the record shows a job to where the journal says it got; None if nowhere.

        An attempt without an outcome is lost: it is run again, or fails at the crash limit.
        """
        state, attempt, _ = row
        here, now = state, attempt
        lost_attempts = 0
        hops: list[Hop] = []
        code = None
        for entry in entries:
            if here != entry.old_state or now != _attempt_before(entry):
                continue
            hops.append(hop_of(entry))
            lost_attempts += lost(entry)
            if isinstance(entry, Start):
                here, now = states.RUNNING, entry.attempt
            else:
                here, code = entry.outcome.state, code_of(entry)
        if here == states.RUNNING:
            hops.append(self._lost(now, loss))
            lost_attempts += 1
        if not hops:
            return None
        return Move(
            job=job,
            old_state=state,
            hops=hops,
            attempt=attempt,
            next_attempt=now,
            session=session,
            lost_attempts=lost_attempts,
            return_code=code,
        )

    def _lost(self, attempt: int, loss: Loss) -> Hop:
        data: dict[str, Any] = {"cause": states.LAUNCHER_LOST, "attempt": attempt}
        words = f"Attempt {attempt} was lost with its launcher: will be run again"
        if loss.host:
            data["host"] = loss.host
            words += f"; it may go on running on {loss.host} until its launcher there notices"
        again = Outcome(states.RESTART_READY, words, data)
        rule = loss.rule or Rule(states.LAUNCHER_LOST, self._crash_limit - 1)
        outcome = backoff.after_loss(again, rule, loss.number, time.time())
        return Hop(outcome.state, outcome.message, outcome.data)

    @staticmethod
    def _tell_killed(
        held: dict[int, tuple[str, int, int]], entries: dict[int, list[Entry]]
    ) -> None:
        """Killed jobs keep their state; what their last attempt came to is noted."""
        for job, (state, _, _) in held.items():
            last = entries.get(job, [None])[-1]
            if state == states.USER_KILLED and isinstance(last, End):
                note(job, state, last.outcome.message, last.outcome.data)


def _attempt_before(entry: Entry) -> int:
    return entry.old_attempt if isinstance(entry, Start) else entry.attempt


def _entry(plain: dict[str, Any]) -> Entry | None:
    """The ledger entry that a journal line holds; None for a line nobody here wrote."""
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
