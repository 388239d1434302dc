"""How a launcher ends: what runs is ended first, and nothing is left behind."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from balsam import states
from balsam.core import sessions
from balsam.core.record import TROUBLE
from balsam.errors import LeaseLost
from balsam.launcher.attempts import Attempts
from balsam.launcher.guard import Guard
from balsam.launcher.journal import Journal
from balsam.launcher.ledger import Ledger
from balsam.launcher.mpi import MpiFinder
from balsam.launcher.source import Source
from balsam.launcher.steps import Steps

logger = logging.getLogger(__name__)

#: How long a stopping launcher tries to commit, and to end what does not end, after the grace.
GIVE_UP_SECONDS = 20.0
#: What was KILLed at a second signal has so long to be reaped.
REAP_SECONDS = 2.0
#: A scheduler's TERM also ends what carries messages to other nodes; they have so long to answer.
ANSWER_SECONDS = 2.0
#: Interrupted steps start again later, so a stopping launcher does not wait for them long.
STEP_GRACE_SECONDS = 2.0


@dataclass
class Stopping:
    """Stops one launcher, in two turns: asked to, and at its very end."""

    session: int
    grace_seconds: float
    mpi: MpiFinder
    source: Source
    attempts: Attempts
    steps: Steps
    ledger: Ledger
    journal: Journal
    guard: Guard
    tell: Callable[[str], None]
    #: Why it stops, '' while it does not.
    why: str = ""
    _asked_at: float = 0.0
    #: Until when it waits for attempts to end, and for the database.
    _leave_at: float = 0.0
    _give_up_at: float = 0.0

    def stop(self, why: str) -> None:
        """Stop starting, and end what runs; asked again, end it at once."""
        grace = 0.0 if self.why else self.grace_seconds
        if not self.why:
            logger.info("stopping: %s", why)
            self.tell(f"Stopping the launcher: {why}.")
            self.why = why
            # A database that stays away does not hold the node: the journal keeps the outcomes.
            self._asked_at = time.monotonic()
            self._leave_at = self._give_up_at = self._asked_at + grace + GIVE_UP_SECONDS
        else:
            self._leave_at = min(self._leave_at, time.monotonic() + REAP_SECONDS)
            self._give_up_at = 0.0
        self.mpi.close()
        self.attempts.stop_all(states.BATCH_TIME_LIMIT, grace)
        # Only then: that may wait for the database.
        if self.source.stock:
            self.guard.run(lambda: self.source.give_back(self.source.stock))
            self.source.stock.clear()
        for end in self.steps.close(min(grace, STEP_GRACE_SECONDS)):
            self.ledger.add(end)

    def is_late(self) -> bool:
        """Whether those who answer at all would have answered by now."""
        return bool(self.why) and time.monotonic() >= self._asked_at + ANSWER_SECONDS

    def over(self) -> bool:
        """Whether a stopping launcher has nothing left to wait for.

        Nor does it wait for ever: a task may hang in the kernel, where no signal ends it.
        """
        now = time.monotonic()
        if len(self.attempts):
            return now >= self._leave_at
        return not len(self.ledger) or now >= self._give_up_at

    def shut(self) -> None:
        """Leave nothing behind: no process, no lease, no journal that is still needed.

        What did not end all the same is left to who recovers the session.
        """
        if self.why and len(self.attempts):
            self._tell_left()
        self.mpi.close()
        self.attempts.kill_all()
        self.attempts.close(STEP_GRACE_SECONDS)
        self.steps.close(0.0)
        # Of attempts that did not end it tells nothing, of the others it has to.
        with contextlib.suppress(OSError):
            self.ledger.write()
        if not len(self.attempts):
            with contextlib.suppress(*TROUBLE, LeaseLost):
                self.ledger.commit()
                # Unless somebody is recovering it at this moment.
                if sessions.beat(self.session):
                    sessions.close_session(self.session)
        self.journal.close(keep=bool(len(self.attempts) or len(self.ledger)))

    def _tell_left(self) -> None:
        number = len(self.attempts)
        logger.warning("attempts that did not end: jobs %s", sorted(self.attempts.jobs())[:100])
        some = "1 task" if number == 1 else f"{number} tasks"
        self.tell(f"{some} did not end: left to the next launcher, or to 'balsam doctor'.")
