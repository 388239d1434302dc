"""When jobs that have to wait may be had: the time of the record, by a clock that nobody sets."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime

from balsam.core import history, lease
from balsam.core.lease import Scope


class Due:
    """When (monotonic) the next of some jobs may go on that may not yet; None without any."""

    def __init__(self) -> None:
        self.at: float | None = None

    def look(self, scope: Scope, since: datetime, wanted: Sequence[str]) -> None:
        """Ask the record for the next job in the ``wanted`` states that could not ``since``."""
        when = lease.next_due(scope, since, wanted)
        wait = (when - history.now()).total_seconds() if when else 0.0
        self.at = time.monotonic() + wait if when else None

    def passed(self) -> bool:
        """Whether the time has come; says so once."""
        if self.at is None or time.monotonic() < self.at:
            return False
        self.at = None
        return True
