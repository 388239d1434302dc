"""One launcher on one simulated allocation, to the end of its work.

``python -m tests.benchmarks.simulation.case JSON`` prints what came of it, as JSON; the project is
the one that the environment names. A process of its own, for the clock is that of the process.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.benchmarks.memory import peak_of
from tests.benchmarks.simulation.clock import Clock


@dataclass(frozen=True)
class Allocation:
    """``nodes`` nodes with ``slots`` cores each."""

    nodes: int
    slots: int = 1
    seed: int = 1
    profile: str = ""


@dataclass
class Result:
    """What the launcher took; of CPU without, of memory with what the simulation took itself."""

    nodes: int
    slots: int
    tasks: int
    use: dict[str, Any]
    cpu_seconds: float
    elapsed_seconds: float
    real_seconds: float
    rss_mb: float
    sleeps: int
    code: int
    phases: dict[str, float] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)


def run(allocation: Allocation) -> Result:
    """Run the launcher of this process's project; Django is set up on import of the record."""
    clock = Clock()
    clock.install()
    from balsam.conf import current
    from balsam.launcher.options import LauncherOptions
    from balsam.launcher.pilot import Launcher
    from tests.benchmarks.simulation import crew, programs
    from tests.benchmarks.simulation.measures import use_of
    from tests.benchmarks.simulation.nodes import Nodes
    from tests.benchmarks.simulation.phases import watch_launcher
    from tests.benchmarks.simulation.wakeup import JumpingWakeup

    names = [f"sim{number:05}" for number in range(allocation.nodes)]
    nodes = Nodes(allocation.nodes, allocation.slots, clock.monotonic, seed=allocation.seed)
    programs.Programs(clock, nodes, names).install()
    crew.install(clock, nodes)
    began, cpu_began = time.perf_counter(), time.process_time()
    begin = clock.monotonic()
    with JumpingWakeup(clock, nodes) as wakeup:
        launcher = Launcher(current.project(), LauncherOptions(machine="simulated"), wakeup)
        phases = watch_launcher(launcher, clock)
        code = _profiled(launcher.run, allocation.profile)
    elapsed = clock.monotonic() - begin
    rss_mb = peak_of(os.getpid())
    cpu = time.process_time() - cpu_began - clock.excluded_cpu
    return Result(
        nodes=allocation.nodes,
        slots=allocation.slots,
        tasks=len(nodes.trace.begins),
        use=asdict(use_of(nodes.trace, allocation.nodes, begin)),
        cpu_seconds=cpu,
        elapsed_seconds=elapsed,
        real_seconds=time.perf_counter() - began,
        rss_mb=rss_mb,
        sleeps=wakeup.sleeps,
        code=code,
        phases=phases.seconds,
        calls=phases.calls,
    )


def _profiled(call: Any, path: str) -> int:
    if not path:
        return int(call())
    import cProfile

    profile = cProfile.Profile()
    try:
        return int(profile.runcall(call))
    finally:
        profile.dump_stats(path)


def main(words: Sequence[str]) -> None:
    os.environ.setdefault("PYTHONHASHSEED", "0")
    print(json.dumps(asdict(run(Allocation(**json.loads(words[0]))))))


if __name__ == "__main__":
    main(sys.argv[1:])
