"""Looking on at sessions that may be dead, at all of them over the same time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from balsam.conf.project import Project
from balsam.core import sessions
from balsam.core.care import strays
from balsam.core.models import Session
from balsam.launcher.recovery import recovery_by

KIND = "doctor"
#: Between two looks at sessions that may be dead.
LOOK_SECONDS = 0.5


class Watch:
    """Finds out which of the suspected sessions are dead, and says so if that takes a while.

    The clocks of other machines may not agree with ours, and tasks there end some time after their
    launcher.
    """

    def __init__(self, project: Project, tell: Callable[[str], None]) -> None:
        self.recovery = recovery_by(project, sessions.own_life(KIND))
        self._tell = tell
        self._suspects: set[int] = set()
        #: Session -> it, as it was found dead; None if it lives, or was recovered by others.
        self._found: dict[int, Session | None] = {}

    def suspect(self, session: int) -> None:
        """Look at this one too, unless that was done already."""
        if session not in self._found:
            self._suspects.add(session)

    def dead(self, session: int) -> Session | None:
        """A suspect if it is dead; the first to be asked for waits until it is plain of all."""
        doubtful = self._look()
        if doubtful:
            self._tell(self._notice(doubtful))
        while doubtful:
            time.sleep(LOOK_SECONDS)
            doubtful = self._look()
        return self._found[session]

    def _look(self) -> list[Session]:
        """Look once at every suspect; those of which one can not say yet."""
        doubtful = []
        rows = {int(row.pk): row for row in strays.of(self._suspects)}
        for key in self._suspects:
            row = rows.get(key)
            self.recovery.waiting = False
            if row is not None and self.recovery.is_dead(row):
                self._found[key] = row
            elif row is not None and self.recovery.waiting:
                doubtful.append(row)
            else:
                self._found[key] = None
        self._suspects = {int(row.pk) for row in doubtful}
        return doubtful

    def _notice(self, doubtful: Sequence[Session]) -> str:
        seconds = math.ceil(max(map(self.recovery.doubt_seconds, doubtful)) + LOOK_SECONDS)
        number = f"{len(doubtful)} launchers are" if len(doubtful) > 1 else "1 launcher is"
        return (
            f"Waiting until it is plain whether {number} dead, with all that ran on other nodes: "
            f"{seconds} s at most."
        )
