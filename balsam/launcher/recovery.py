"""Recovery: what a dead session left behind, brought to its true end.

Its journal is read, its processes are ended, then the journal is replayed, and only then is the
rest given out again. Each move is a compare-and-swap on the dead session's lease, so recovering
twice is harmless.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from balsam import states
from balsam.conf.project import Project
from balsam.core import bookkeeping, history, lease, sessions
from balsam.core.advance import advance
from balsam.core.events import note
from balsam.core.models import Session
from balsam.core.record import joined
from balsam.core.sessions import Life
from balsam.launcher import journal
from balsam.launcher.ensemble.search import silence_seconds
from balsam.launcher.ensemble.vigil import FENCE_GRACE_SECONDS
from balsam.launcher.entries import End, Entry, from_plain
from balsam.launcher.resources import has_this_node
from balsam.launcher.rulings import hold_back
from balsam.launcher.true_ends import true_ends
from balsam.platform import node, nodelist, process

logger = logging.getLogger(__name__)

#: What tasks elsewhere need to end once it is known that their launcher is dead.
END_SECONDS = 5.0
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
        patience_seconds: float = 0.0,
    ) -> None:
        """``patience_seconds``: how long the heartbeat of a session has to stand still before our
        eyes if its process runs, or is on another machine, whose clock may not agree with ours.
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
        #: Sessions whose heartbeat has changed since we first saw it.
        self._moved: set[int] = set()
        #: Session -> when (monotonic) we first saw that its process is dead.
        self._dead: dict[int, float] = {}
        #: Dead sessions of other users whose journals we may not read.
        self._left: set[int] = set()
        #: A session is dead, and will soon be recovered.
        self.waiting = False

    def run(self, own_session: int | None) -> int:
        """Recover every dead session but our own; how many there were."""
        recovered = 0
        self.waiting = False
        for session in sessions.others(own_session):
            if self.is_dead(session) and self.take(session):
                self.recover(session)
                recovered += 1
        return recovered

    def take(self, session: Session) -> bool:
        """Claim a dead session, unless we may not know what it had still to commit.

        Such a session is left to its owner.
        """
        key = int(session.pk)
        refused = journal.refusal(journal.path_of(self._journals, key))
        if refused is None:
            return sessions.claim(session, self._life)
        if key not in self._left:
            self._left.add(key)
            logger.warning("session %s is dead, and left to its owner: %s", key, refused)
        return False

    def tidy(self) -> None:
        """Remove journals of sessions that ended, but were killed before they could do that."""
        journals = list(self._journals.glob("session-*.jsonl"))
        # Asked for after that: a session is there before its journal is.
        kept = {journal.path_of(self._journals, session.pk) for session in sessions.others(None)}
        for path in journals:
            if path not in kept:
                _remove(path)

    def is_dead(self, session: Session) -> bool:
        """By its process, where that can be looked at; by its heartbeat otherwise.

        A jump of the time of day kills nobody: on this machine heartbeats are compared by a clock
        that nobody sets, and elsewhere they have to stand still while we look.
        """
        if self._process_is_dead(session):
            return self._quiet_elsewhere(session)
        still = self._still_for(session)
        if session.machine == self._life.machine:
            late = sessions.expired(session, self._lease_seconds)
            # It runs: perhaps it comes back only now, like us, from where nobody could be reached.
            self.waiting |= late and still < self._patience_seconds
            return late and still >= self._patience_seconds
        if still > self._lease_seconds:
            return True
        # It may be dead: then its jobs are soon to be had. Whose heartbeat has moved before our
        # eyes is not, whatever its clock says, until it stands still.
        quiet = still
        if int(session.pk) not in self._moved:
            quiet = (history.now() - session.heartbeat).total_seconds()
        self.waiting |= quiet > self._patience_seconds
        return still >= self._patience_seconds and sessions.expired(session, self._lease_seconds)

    def _quiet_elsewhere(self, session: Session) -> bool:
        """Whether the tasks of a session whose process is dead have ended on its other nodes too.

        Who watches them there ends them as soon as the launcher is missed.
        """
        nodes = nodelist.expand(session.offer.get("node_names", ""))
        if session.offer.get("nodes", 0) <= 1 and (not nodes or has_this_node(nodes)):
            return True
        since = self._dead.setdefault(int(session.pk), time.monotonic())
        quiet = time.monotonic() - since >= self._missed_seconds
        self.waiting |= not quiet
        return quiet

    @property
    def _missed_seconds(self) -> float:
        # Those whose rank 0 died with it hear nothing, and wait longer than those who are told.
        return silence_seconds(self._lease_seconds) + FENCE_GRACE_SECONDS + END_SECONDS

    def doubt_seconds(self, session: Session) -> float:
        """How long one may have to look on, at most, until it is plain that it is dead."""
        if self._process_is_dead(session):
            return self._missed_seconds
        late = sessions.expired(session, self._lease_seconds)
        return self._patience_seconds if late else self._lease_seconds

    def _process_is_dead(self, session: Session) -> bool:
        """Whether it was a process of this machine, and is no more."""
        here = session.machine == self._life.machine
        return here and not node.process_alive(session.pid, session.pid_start)

    def _still_for(self, session: Session) -> float:
        """For how many seconds we have seen no heartbeat of this session."""
        now = time.monotonic()
        key = int(session.pk)
        if self._seen.get(key, (None,))[0] != session.heartbeat:
            if key in self._seen:
                self._moved.add(key)
            self._seen[key] = (session.heartbeat, now)
        return now - self._seen[key][1]

    def recover(self, session: Session) -> None:
        """Bring the jobs of a claimed session to where they really are."""
        key = int(session.pk)
        path = journal.path_of(self._journals, key)
        told: dict[int, list[Entry]] = {}
        # Read before its tasks are ended: a launcher that is not dead, but late, would add that.
        for plain in journal.read(path):
            entry = from_plain(plain)
            if entry:
                told.setdefault(entry.job, []).append(entry)
        survivors = process.marked_processes(SESSION_MARK, mark(self._project, key))
        if survivors:
            logger.warning("session %s left %d processes behind", key, len(survivors))
            process.end_processes(survivors, self._grace_seconds)
        held = lease.held(key)
        moves = true_ends(key, held, told, self._crash_limit, self._running_on(session))
        with joined():  # or another launcher would lease what is to be held back
            moved = advance(moves)
            hold_back(move for move in moves if move.job in moved)
        _tell_killed(held, told)
        with joined():  # or another launcher would lease what has no attempt left
            rescued = bookkeeping.rescued(held)
            sessions.close_session(key)
            bookkeeping.end_restarts(rescued, self._max_attempts)
        bookkeeping.pass_jobs(held, self._max_attempts)
        _remove(path)
        logger.warning("recovered session %s: %d of %d leased jobs", key, len(moved), len(held))

    def _running_on(self, session: Session) -> str:
        """The host where attempts of the session may go on: one whose processes we can not see."""
        host = str(session.lock).rpartition(":")[0]
        return "" if host == self._life.host or not host else host


def recovery_by(project: Project, own: Life) -> Recovery:
    """What this process does for sessions that died."""
    settings = project.settings()
    return Recovery(
        project.id,
        project.journal_dir,
        own,
        lease_seconds=settings.launcher.lease_seconds,
        crash_limit=settings.launcher.crash_limit,
        max_attempts=settings.jobs.max_attempts,
        grace_seconds=settings.launcher.kill_grace_seconds,
        patience_seconds=1.5 * settings.launcher.heartbeat_seconds,
    )


def _remove(path: Path) -> None:
    """Remove a journal of which all is committed; who may not leaves it to its owner."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("%s", error)


def _tell_killed(held: dict[int, tuple[str, int, int]], told: dict[int, list[Entry]]) -> None:
    """Killed jobs keep their state; what their last attempt came to is noted."""
    for job, (state, _, _) in held.items():
        last = told.get(job, [None])[-1]
        if state == states.USER_KILLED and isinstance(last, End):
            note(job, state, last.outcome.message, last.outcome.data)
