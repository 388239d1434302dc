"""A whole launcher over emulated hosts of this machine, its serial tasks started by an ensemble."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

from tests.benchmarks.project import Bench, bench
from tests.tools import hosts as host_tools
from tests.tools.hosts import Hosts


@contextlib.contextmanager
def emulated(number: int) -> Iterator[Hosts | None]:
    """So many hosts, or None (and why, printed) where there can be none."""
    reason = host_tools.missing()
    if reason:
        print(f"No benchmark of several hosts: {reason}")
        yield None
        return
    with host_tools.temporary(number) as made:
        yield made


def rate(hosts: Hosts, tasks: int, database: str) -> float:
    """Tasks per second of one launcher with one core on each host, from RUNNING to the record."""
    with bench(database) as made:
        after = made.last_event()
        made.python("add_jobs", str(tasks))
        _run(made, hosts)
        return tasks / made.span(after, tasks)


def _run(made: Bench, hosts: Hosts) -> None:
    nodefile = made.path.parent / "nodefile"
    nodefile.write_text("".join(f"{name}\n" for name in hosts.names))
    environ = {**made.environ, **hosts.mpi_environ(), "PBS_NODEFILE": str(nodefile)}
    words = [sys.executable, "-m", "balsam", "launcher", "--consume-all", "--time-limit", "60"]
    subprocess.run(
        hosts.inside(hosts.names[0], *words, directory=made.path),
        env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True,
    )  # fmt: skip
