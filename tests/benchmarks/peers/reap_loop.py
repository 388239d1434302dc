"""Tasks one after another, so many in flight. NUMBER IN_FLIGHT DIRECTORY HOW.

Each is started as a launcher starts it. HOW is ``measured``, where it is also reaped as there, with
all that it used; or ``bare``, where only its exit status is asked for. Prints the seconds.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable

from balsam.platform import process


def bare(pid: int, begun: float) -> None:
    """Reap a child that has ended, with what it left in its group."""
    process.signal_group(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


REAPERS: dict[str, Callable[[int, float], object]] = {"bare": bare, "measured": process.collect}


def main() -> None:
    number, in_flight, directory = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    reap = REAPERS[sys.argv[4]]
    running: dict[int, float] = {}
    begin = time.perf_counter()
    for index in range(number):
        if len(running) >= in_flight:
            _reap_one(running, reap)
        output = f"{directory}/{index}.out"
        spec = process.RunSpec(("/bin/true",), directory, os.environ, output)
        running[process.spawn(spec)] = time.monotonic()
    while running:
        _reap_one(running, reap)
    print(time.perf_counter() - begin)


def _reap_one(running: dict[int, float], reap: Callable[[int, float], object]) -> None:
    found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    assert found is not None
    reap(found.si_pid, running.pop(found.si_pid))


if __name__ == "__main__":
    main()
