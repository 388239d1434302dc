"""Drives an ensemble on this host without a launcher: MPIRUN RANKS TASKS DIRECTORY; prints JSON."""

from __future__ import annotations

import itertools
import json
import os
import select
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from balsam.launcher.ensemble.ensemble import Ensemble, rank_command
from balsam.launcher.ensemble.protocol import Ended, Event, Started
from balsam.launcher.far import MOST_AHEAD
from balsam.platform import mpirun
from balsam.platform.process import RunSpec

PAUSES = 30
IDLE_SECONDS = 5.0


class Driver:
    """Gives tasks to the nodes in turn."""

    def __init__(self, program: str, ranks: int, directory: str) -> None:
        self.directory = directory
        self.nodes = [f"n{number}" for number in range(ranks)]
        self.environ = mpirun.scrub(os.environ)
        self._program = program
        self._flavour = mpirun.detect(program)
        self._next = itertools.cycle(self.nodes)
        self._last: dict[str, str] = {}
        self.given = 0
        self.ensemble = Ensemble(
            self.nodes, self._mpirun, f"benchmark-{os.getpid()}", self.environ, by_rank=True
        )

    def _mpirun(self, nodes: Sequence[str]) -> RunSpec:
        count = len(nodes)
        line = self._flavour.run(self._program, rank_command(), mpirun.Launch(count, count))
        env = {**self.environ, **self._flavour.environ()}
        return RunSpec(line, "/", env, f"{self.directory}/ensemble.log")

    def hear(self) -> list[Event]:
        """Sleep until something happened."""
        self.ensemble.flush()
        pause = max(0.0, (self.ensemble.deadline or 0.0) - time.monotonic())
        select.select(self.ensemble.fds(), [], [], pause)
        return self.ensemble.poll()

    def give(self, *, chained: bool = True) -> None:
        """One more task, on the next node, after the last one there."""
        node, token = next(self._next), f"{self.given}:1"
        env = {**self.environ, "TASK": str(self.given)}
        output = f"{self.directory}/{self.given}.out"
        spec = RunSpec(("/bin/true",), self.directory, env, output)
        self.ensemble.start(token, node, spec, after=self._last.get(node, "") if chained else "")
        self._last[node] = token
        self.given += 1

    def rate(self, tasks: int) -> float:
        """Tasks per second, from the first start to the last end.

        As many are sent ahead as a launcher sends of such short ones.
        """
        ended, first, last = 0, float("inf"), 0.0
        for _ in range(min(tasks, (1 + MOST_AHEAD) * len(self.nodes))):
            self.give()
        while ended < tasks:
            for event in self.hear():
                if isinstance(event, Started):
                    first = min(first, event.time)
                elif isinstance(event, Ended) and event.end.returncode == 0:
                    ended, last = ended + 1, max(last, event.end.time)
                    if self.given < tasks:
                        self.give()
                else:
                    raise RuntimeError(str(event))
        return tasks / (last - first)

    def waits(self) -> dict[str, float]:
        """Milliseconds until a task starts, and until its end is known, after a pause."""
        starts, ends = [], []
        for _ in range(PAUSES):
            self.quiet(0.05)
            begin, token = time.time(), f"{self.given}:1"
            self.give(chained=False)
            while not ends or ends[-1][0] != token:
                for event in self.hear():
                    if isinstance(event, Started):
                        starts.append(event.time - begin)
                    elif isinstance(event, Ended):
                        ends.append((token, time.time() - event.end.time))
        middle = statistics.median(wait for _, wait in ends)
        return {"start": 1e3 * statistics.median(starts), "end": 1e3 * middle}

    def quiet(self, seconds: float) -> None:
        """Do nothing but what has to be done."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.ensemble.flush()
            pause = min(until, self.ensemble.deadline or until) - time.monotonic()
            select.select(self.ensemble.fds(), [], [], max(0.0, pause))
            self.ensemble.poll()

    def idle(self) -> float:
        """Percent of a core that a rank and its keeper take when there is nothing to do."""
        before = cpu_seconds("balsam.launcher.ensemble")
        self.quiet(IDLE_SECONDS)
        spent = cpu_seconds("balsam.launcher.ensemble") - before
        return 100 * spent / IDLE_SECONDS / len(self.nodes)


def cpu_seconds(words: str) -> float:
    """Of all processes but mpirun with this in their command line."""
    ticks = 0
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes().split(b"\0")
            if not any(word.decode().startswith(words) for word in line[2:3]):
                continue
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except (OSError, UnicodeDecodeError):
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure, and print."""
    program, ranks, tasks, directory = sys.argv[1:5]
    begin = time.monotonic()
    driver = Driver(program, int(ranks), directory)
    try:
        while len(driver.ensemble.ready_nodes) < len(driver.nodes):
            driver.hear()
        found = {"ready": time.monotonic() - begin, "rate": driver.rate(int(tasks))}
        found |= driver.waits()
        found["idle"] = driver.idle()
    finally:
        driver.ensemble.close(10.0)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
