"""Waiting until somebody else has changed the record."""

from __future__ import annotations

import time

from balsam.conf.bootstrap.opening import readable
from balsam.core import lease

#: Between two looks at whether the database changed, where it does not tell; in seconds.
LOOK_SECONDS = 0.05


class Changes:
    """Notices commits of other processes, from when it was made on."""

    def __init__(self) -> None:
        self._version = lease.data_version()

    def wait(self, seconds: float) -> bool:
        """Wait for a commit, ``seconds`` at most; whether there was one."""
        end = time.monotonic() + seconds
        while True:
            version = lease.data_version()
            if version != self._version:
                self._version = version
                return True
            left = end - time.monotonic()
            if left <= 0:
                return False
            listener = lease.listener()
            if listener is None:
                time.sleep(min(LOOK_SECONDS, left))
            else:
                readable(listener, left)
