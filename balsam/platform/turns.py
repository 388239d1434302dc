"""Short turns on a processor: for a process that seldom has much to do, but has to do it at once.

Where tasks fill all processors, whoever starts them is one too many, and each time that it wakes up
it waits for a task to end its turn (3 ms and more). Since version 6.12 Linux lets go first whoever
asks for shorter turns than others, as far as a fair share allows: by ``sched_runtime``, see
https://docs.kernel.org/scheduler/sched-eevdf.html and sched_setattr(2). It needs no privilege.
"""

from __future__ import annotations

import os
import platform
import struct

#: The least that the kernel takes is 0.1 ms.
TURN_SECONDS = 0.0002
#: The first version of the kernel's ``sched_attr``: size, policy, flags, nice value, priority,
#: and in nanoseconds runtime, deadline and period.
ATTRIBUTES = struct.Struct("=IIQiIQQQ")
#: sched_setattr(2) of each architecture; few C libraries have a function for it.
_NUMBERS = {"x86_64": 314, "aarch64": 274, "ppc64le": 355}
_RESET_ON_FORK = 1


def ask_for_short_turns() -> bool:
    """Ask for short turns for this thread, and not for what it starts; whether that was heard.

    Priorities stay as they are. An older kernel hears it, and does nothing. Nothing is asked where
    somebody chose another way of scheduling, or a priority that children are to have, too.
    """
    number = _NUMBERS.get(platform.machine())
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    if number is None or nice < 0 or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return False
    turn = int(TURN_SECONDS * 1e9)
    wanted = (ATTRIBUTES.size, os.SCHED_OTHER, _RESET_ON_FORK, nice, 0, turn, 0, 0)
    try:
        import ctypes  # here, because a Python may have been built without it

        return ctypes.CDLL(None).syscall(number, 0, ATTRIBUTES.pack(*wanted), 0) == 0
    except (ImportError, OSError, AttributeError):
        return False
