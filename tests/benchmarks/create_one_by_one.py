"""For each line read, create one job of the application ``task`` and print its id and the time."""

from __future__ import annotations

import sys
import time


def main() -> None:
    from balsam.core.models import ApplicationDefinition, BalsamJob

    ApplicationDefinition.register(
        name="task", executable="/bin/sh", description="Says when it ends."
    )
    print("ready", flush=True)
    for number, _ in enumerate(sys.stdin, 1):
        job = BalsamJob(
            name=f"t{number}",
            workflow="bench",
            application="task",
            args="-c 'sleep 0.15; exec date +%s.%N'",
        )
        begin = time.time()
        job.save()
        print(job.pk, begin, flush=True)


if __name__ == "__main__":
    main()
