"""Jobs that somebody else moved while a launcher held them: killed, deleted, or taken over."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from balsam import states
from balsam.core import bookkeeping, lease
from balsam.core.events import note
from balsam.core.record import joined
from balsam.launcher.attempts import Attempts
from balsam.launcher.entries import End, Entry, Start, StepEnd
from balsam.launcher.ledger import Ledger
from balsam.launcher.source import Source
from balsam.launcher.steps import Steps

#: Looking for what others did may take this share of a launcher's time.
SHARE = 0.05
#: However long it took, perhaps because it waited for others to commit.
MOST_REST_SECONDS = 5.0
#: So few jobs are all looked at; of more, once in so many seconds, and else what events of so many
#: seconds tell of.
FEW = 5000
FULL_SECONDS = 60.0
BACK_SECONDS = 5.0
_IN_ORDER = frozenset((*states.RUNNABLE_STATES, states.RUNNING))
#: States that handlers lead a job out of.
_TROUBLED = (states.RUN_ERROR, states.RUN_TIMEOUT)


@dataclass
class Disputes:
    """Brings what one session does in line with what the record says."""

    session: int
    max_attempts: int
    kill_grace_seconds: float
    source: Source
    attempts: Attempts
    steps: Steps
    ledger: Ledger
    #: Others have committed something, perhaps of what is held here.
    moved: bool = False
    _rest_until: float = 0.0
    #: When (monotonic) to look at all that is held again, however much that is.
    _next_full: float = 0.0
    #: Times (monotonic) and the last event there was then, oldest first.
    _events: deque[tuple[float, int]] = field(default_factory=deque)

    def due(self, now: float) -> bool:
        """Whether to look for what others did: the more is held, the more that costs."""
        return self.moved and now >= self._rest_until

    def reconcile(self) -> None:
        """Let go of what others killed, deleted or took."""
        begin = time.monotonic()
        self._reconcile()
        end = time.monotonic()
        self.moved = False
        self._rest_until = end + min((end - begin) / SHARE, MOST_REST_SECONDS)

    def _reconcile(self) -> None:
        with_steps = self.steps.jobs()
        if not (len(self.attempts) or self.source.stock or with_steps):
            return
        moved = self._moved(with_steps)
        if not moved:
            return
        self.attempts.endings.let_go(moved)
        gone = {task.id for task in self.source.stock if task.id in moved}
        if gone:
            self.source.drop(gone)
            self.release(gone)
        for job in with_steps:
            if moved.get(job) in ("", states.USER_KILLED):
                self.steps.pool.cancel(job)

    def _moved(self, with_steps: Collection[int]) -> Mapping[int, str]:
        """What is not held any more (''), or in a state (this) of jobs that are not run.

        Of very much that is held only what was written about lately is looked at, as long as
        nothing is missing: a job that is deleted leaves no event. An event may become visible
        after later ones, so one has to look back, and now and then at everything.
        """
        now, ours = time.monotonic(), self._number(with_steps)
        if ours <= FEW or now >= self._next_full or lease.number_held(self.session) < ours:
            self._next_full = now + FULL_SECONDS
            self._events.clear()
            self._note_event(now)
            return self._strays(with_steps)
        since = self._events[0][1]
        self._note_event(now)
        return lease.moved_since(self.session, since)

    def _note_event(self, now: float) -> None:
        """Remember how far the record was, for those who look back."""
        self._events.append((now, bookkeeping.last_event()))
        while len(self._events) > 1 and self._events[1][0] <= now - BACK_SECONDS:
            self._events.popleft()

    def _number(self, with_steps: Collection[int]) -> int:
        """How many jobs are held here."""
        waiting = sum(
            job not in self.attempts and job not in with_steps for job in self.ledger.jobs()
        )
        return len(self.attempts) + len(self.source.stock) + len(with_steps) + waiting

    def _strays(self, with_steps: Collection[int]) -> dict[int, str]:
        held = self.source.held()
        known = self.attempts.jobs() | {task.id for task in self.source.stock}
        states_now = {job: held.get(job, ("",))[0] for job in (*known, *with_steps)}
        return {job: state for job, state in states_now.items() if state not in _IN_ORDER}

    def catch_up(self) -> None:
        """The database failed between two statements: free strays, and look at everything anew."""
        known = self.attempts.jobs() | self.steps.jobs() | self.ledger.jobs()
        known |= {task.id for task in self.source.stock}
        strays = set(self.source.held()) - known
        if strays:
            lease.release(self.session, strays)
        self.source.begin()
        self.moved = self.source.dirty = self.steps.dirty = True
        self._rest_until = 0.0  # what is in stock may be somebody else's by now

    def too_late(self, entries: Sequence[Entry]) -> None:
        """Somebody moved these jobs first: their attempts end, and what they came to is noted."""
        held = self.source.held([entry.job for entry in entries])
        grace = self.kill_grace_seconds
        finished: set[int] = set()
        rescued: set[int] = set()
        for entry in entries:
            if isinstance(entry, Start):
                self.attempts.stop(entry.job, states.KILLED, grace)
                continue
            state = held.get(entry.job, ("",))[0]
            finished.add(entry.job)
            if state in bookkeeping.SENT_BACK and entry.old_state in _TROUBLED:
                rescued.add(entry.job)
            if isinstance(entry, End) and state == states.USER_KILLED:
                note(entry.job, state, entry.outcome.message, entry.outcome.data)
            if isinstance(entry, StepEnd) and _broke_after_all(entry, state):
                self.ledger.add(replace(entry, old_state=state, final=True))
                finished.discard(entry.job)
        if finished:
            self.release(finished, rescued)

    def release(self, jobs: Collection[int], rescued: Collection[int] = ()) -> None:
        """Give back jobs that others have moved, and let Balsam's rules take them from there.

        Handlers have asked for another attempt of the ``rescued``, which may be one too many.
        """
        with joined():  # or another launcher would lease them in between
            lease.release(self.session, jobs)
            if rescued:
                bookkeeping.end_restarts(rescued, self.max_attempts)
        self.source.pass_jobs(jobs)
        self.steps.dirty = True


def _broke_after_all(entry: StepEnd, state: str) -> bool:
    """A hook that set a state and then failed has failed."""
    failed = entry.outcome.state == states.FAILED and entry.outcome.data.get("returncode") != 0
    return failed and state not in (*states.END_STATES, states.RUNNING, "")
