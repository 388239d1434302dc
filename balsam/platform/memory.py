"""How much memory a child took, where the kernel can tell that from what we have ourselves.

Its counter of a process (``ru_maxrss``, see getrusage(2)) begins with what there was before execve,
and after a vfork that is the memory of whoever started it.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path

#: The kernel's own counts are off by up to so many pages for each processor that somebody ran on
#: (linux/percpu_counter.h); nobody runs on all of many.
_CPUS = os.cpu_count() or 1
_MARGIN_KB = max(32, 2 * _CPUS) * min(_CPUS, 8) * resource.getpagesize() // 1024


class Floor:
    """What this process has had resident at most: a child has had no less, for the kernel."""

    def __init__(self) -> None:
        self._peak = 0

    def known(self, peak: int) -> int:
        """A child's peak (KiB), 0 if it may be ours."""
        # Ours only grows: it has to be read only where what was read does not do.
        if peak > self._peak + _MARGIN_KB:
            self._peak = max(self._peak, _own_peak())
        return peak if peak > self._peak + _MARGIN_KB else 0


def _own_peak(status: str = "/proc/self/status") -> int:
    """In KiB; 0 where the system does not tell it."""
    try:
        lines = Path(status).read_bytes().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(b"VmHWM:")), 0)
