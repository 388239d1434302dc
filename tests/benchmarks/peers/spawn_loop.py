"""The bare loop: ``posix_spawn`` and wait, so many in flight. NUMBER IN_FLIGHT DIRECTORY.

Each task has its output in a file, an environment and a process group of its own; nothing is kept
of how it ended. Prints the seconds.
"""

from __future__ import annotations

import os
import sys
import time


def main() -> None:
    number, in_flight, directory = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    begin = time.perf_counter()
    running = 0
    for index in range(number):
        output = f"{directory}/{index}.out"
        os.posix_spawn(
            "/bin/true",
            ("/bin/true",),
            {**os.environ, "TASK": str(index)},
            file_actions=(
                (os.POSIX_SPAWN_OPEN, 1, output, flags, 0o666),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ),
            setpgroup=0,
        )
        running += 1
        if running >= in_flight:
            os.waitpid(-1, 0)
            running -= 1
    while running:
        os.waitpid(-1, 0)
        running -= 1
    print(time.perf_counter() - begin)


if __name__ == "__main__":
    main()
