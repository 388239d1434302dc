"""What a launcher does while its database works on a commit: cores that are idle get new tasks."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from balsam.core import record
from balsam.launcher.attempts import Attempts
from balsam.launcher.starting import Starter
from balsam.launcher.wakeup import Wakeup

logger = logging.getLogger(__name__)

#: How long to sleep at most before the driver sees for itself how its connection is.
DOZE_SECONDS = 0.5


@dataclass
class Meanwhile:
    """Takes in what ends and starts what is in stock, and asks the database nothing.

    ``reap`` takes in the ends of attempts. ``write`` journals what is new. ``leave`` tells whether
    all of it is better left to the launcher's next step, which must not sleep before it has looked.
    """

    wakeup: Wakeup
    attempts: Attempts
    starter: Starter
    reap: Callable[[], object]
    write: Callable[[], None]
    leave: Callable[[], bool]
    #: It has heard of something that the next step may have to look at.
    heard: bool = False
    _trouble: Exception | None = None

    @contextlib.contextmanager
    def during(self) -> Iterator[None]:
        """Do so inside. What goes wrong with it is raised in the end."""
        self._trouble = None
        with record.meanwhile(self._doze):
            yield
        if self._trouble:
            raise self._trouble

    def _doze(self, answer: int) -> None:
        self.heard = True
        until = time.monotonic() + DOZE_SECONDS
        self.wakeup.watch(self.attempts.fds())
        while not self.wakeup.wait_for(answer, until - time.monotonic()):
            if self._trouble or self.leave() or time.monotonic() >= until:
                return
            try:
                self._work()
            except Exception as error:
                logger.exception("while the database worked")
                # Not now: the driver is in the middle of something.
                self._trouble = error

    def _work(self) -> None:
        self.reap()
        self.starter.start_more()
        self.attempts.flush()
        self.wakeup.watch(self.attempts.fds())
        self.write()
