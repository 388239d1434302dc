"""One ``dag`` client as users write them: it adds jobs, changes them, asks, and sleeps in between.

NAME SECONDS [wait]: with ``wait`` it says ``ready`` and begins when it is given a line.
"""

from __future__ import annotations

import random
import sys
import time

from tests.benchmarks.stopwatch import Stopwatch

APP = "client"
#: Between two visits to the record, in seconds.
PAUSES = (0.05, 0.5)


def main(name: str, seconds: float, wait: bool) -> None:
    """Until ``seconds`` are over; what it did is printed with its times."""
    from balsam.core.models import BalsamJob
    from balsam.launcher import dag

    watch = Stopwatch()
    choice = random.Random(name)
    mine = BalsamJob.objects.filter(workflow=f"client-{name}")
    if APP not in dag.get_apps(verbose=False):
        dag.add_app(APP, "/bin/true")
    if wait:
        print("ready", flush=True)
        sys.stdin.readline()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with watch("write"):
            first = dag.add_job(name="first", workflow=f"client-{name}", application=APP)
        with watch("write"):
            # Given at once: a launcher may have started the job before it could be told to wait.
            second = dag.add_job(
                name="second",
                workflow=f"client-{name}",
                application=APP,
                input_files="",
                parents=[first],
            )
        time.sleep(choice.uniform(*PAUSES))
        with watch("read"):
            mine.counts_by_state()
        with watch("read"):
            second.refresh_from_db()
        time.sleep(choice.uniform(*PAUSES))
        with watch("write"):
            second.description = "looked at"
            second.save()
    watch.tell()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), sys.argv[3:] == ["wait"])
