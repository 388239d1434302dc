"""Recovery: what a dead session left behind, brought to its true end.

Its journal is read, its processes are ended, then the journal is replayed, and only then is the
rest given out again. Each move is a compare-and-swap on the dead session's lease, so recovering
twice is harmless.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from balsam import states
from balsam.core import bookkeeping, lease, sessions
from balsam.core.advance import Hop, Move, advance, note
from balsam.core.models import Session
from balsam.core.sessions import Life
from balsam.launcher import journal
from balsam.launcher.ledger import End, Entry, Start, StepEnd, hop_of, lost
from balsam.outcomes import Outcome
from balsam.platform import node, process

logger = logging.getLogger(__name__)

SESSION_MARK = "BALSAM_SESSION"


def mark(project: str, session: int) -> str:
    """The value of ``SESSION_MARK`` that every process of a session carries."""
    return f"{project}:{session}"


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
    ) -> None:
        self._project = project
        self._journals = journals
        self._life = life
        self._lease_seconds = lease_seconds
        self._crash_limit = crash_limit
        self._max_attempts = max_attempts
        self._grace_seconds = grace_seconds

    def run(self, own_session: int | None) -> int:
        """Recover every dead session but our own; how many there were."""
        recovered = 0
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
        """By its process, where that can be looked at; by its heartbeat otherwise."""
        if sessions.expired(session, self._lease_seconds):
            return True
        here = session.machine == self._life.machine
        return here and not node.process_alive(session.pid, session.pid_start)

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
        crashes = bookkeeping.crashes(held)
        moves = [
            self._true_end(key, job, row, entries.get(job, ()), crashes.get(job, 0))
            for job, row in held.items()
        ]
        moved = advance([move for move in moves if move])
        self._tell_killed(held, entries)
        sessions.close_session(key)
        bookkeeping.pass_jobs(held, self._max_attempts)
        path.unlink(missing_ok=True)
        logger.warning("recovered session %s: %d of %d leased jobs", key, len(moved), len(held))

    def _true_end(
        self,
        session: int,
        job: int,
        row: tuple[str, int, int],
        entries: Sequence[Entry],
        crashes: int,
    ) -> Move | None:
        """From where the record shows a job to where the journal says it got; None if nowhere.

        An attempt without an outcome is lost: it is run again, or fails at the crash limit if
        ``crashes`` attempts were lost before.
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
                here, code = entry.outcome.state, entry.outcome.data.get("returncode")
        if here == states.RUNNING:
            hops.append(self._lost(now, crashes))
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
            return_code=code if isinstance(code, int) else None,
        )

    def _lost(self, attempt: int, crashes: int) -> Hop:
        data = {"cause": states.LAUNCHER_LOST, "attempt": attempt}
        if crashes + 1 >= self._crash_limit:
            words = f"Its launcher was lost {crashes + 1} times while it ran (crash_limit)"
            return Hop(states.FAILED, words, data)
        words = f"Attempt {attempt} was lost with its launcher: will be run again"
        return Hop(states.RESTART_READY, words, data)

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
