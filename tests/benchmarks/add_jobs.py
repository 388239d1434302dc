"""Add jobs to the project that the environment names: NUMBER [COMMAND [RANKS]]."""

from __future__ import annotations

import sys


def main() -> None:
    from balsam.core.models import ApplicationDefinition, BalsamJob

    number = int(sys.argv[1])
    command = sys.argv[2] if len(sys.argv) > 2 else "/bin/true"
    ranks = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    program, _, args = command.partition(" ")
    apps = ApplicationDefinition.objects
    if not apps.filter(name="task").exists():
        ApplicationDefinition.register(name="task", executable=program)
    BalsamJob.objects.bulk_create(
        [
            {
                "name": f"t{index}",
                "workflow": "bench",
                "application": "task",
                "args": args,
                "ranks_per_node": ranks,
            }
            for index in range(number)
        ]
    )


if __name__ == "__main__":
    main()
