"""Waiting until somebody else has changed the record."""

from __future__ import annotations

import time

from balsam.core import lease

#: Between two looks at whether the database changed, in seconds.
LOOK_SECONDS = 0.05


class Changes:
    """Notices commits of other processes, from when it was made on."""

    def __init__(self) -> None:
        self._version = lease.data_version()

    def wait(self, seconds: float) -> bool:
        """Wait for a commit, ``seconds`` at most; whether there was one.

        Where the database does not tell, all of the time passes and the answer is yes.
        """
        end = time.monotonic() + seconds
        while True:
            version = lease.data_version()
            if version != self._version:
                self._version = version
                return True
            left = end - time.monotonic()
            if left <= 0:
                return not version
            time.sleep(min(LOOK_SECONDS, left))
