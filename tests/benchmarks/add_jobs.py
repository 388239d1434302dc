"""Add jobs to the project that the environment names: NUMBER [COMMAND [RANKS [PACKING]]]."""

from __future__ import annotations

import os
import sys


def main() -> None:
    from balsam.core.models import ApplicationDefinition, BalsamJob

    given = sys.argv[1:]
    number, command, ranks, packing = [*given, *("1", "/bin/true", "1", "1")[len(given) :]]
    program, _, args = command.partition(" ")
    if not ApplicationDefinition.objects.filter(name="task").exists():
        ApplicationDefinition.register(name="task", executable=program)
    fields = {
        "workflow": "bench",
        "application": "task",
        "args": args,
        "ranks_per_node": int(ranks),
        "node_packing_count": int(packing),
    }
    BalsamJob.objects.bulk_create([{"name": f"t{index}", **fields} for index in range(int(number))])
    # A launcher that waits for them begins at once: an interpreter's orderly end would share the
    # cores with what is measured.
    os._exit(0)


if __name__ == "__main__":
    main()
