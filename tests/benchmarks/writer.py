"""One process that adds jobs as fast as it can, a transaction each: NAME SECONDS.

It says ``ready``, and begins when it is given a line.
"""

from __future__ import annotations

import sys
import time

from tests.benchmarks.stopwatch import Stopwatch


def main(name: str, seconds: float) -> None:
    """Until ``seconds`` are over; the times are printed."""
    from balsam.core.models import BalsamJob

    watch = Stopwatch()
    BalsamJob.objects.count()
    print("ready", flush=True)
    sys.stdin.readline()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with watch("write"):
            BalsamJob(name=name, workflow="writers", direct_command="true").save()
    watch.tell()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
