"""Jobs of simulated lengths, put into the project that the environment names.

``python -m tests.benchmarks.simulation.workload JSON``, JSON being a :class:`Workload`.
"""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

#: Of the length of others.
SHORT = 0.25


@dataclass(frozen=True)
class Workload:
    """``number`` tasks that take ``seconds`` each on average, ``spread`` of that more or less.

    Lengths are evenly distributed, the same for the same ``seed``. A task takes a core; of the
    jobs, ``wide`` take ``widths`` nodes each, in turn, by mpirun; they are spread evenly among the
    narrow ones, of which then every other takes only ``SHORT`` of the time, and all tell their
    wall time, so that there is something to fill gaps with.
    """

    number: int
    seconds: float
    spread: float = 0.2
    seed: int = 1
    wide: int = 0
    widths: tuple[int, ...] = ()

    def lengths(self) -> Iterator[float]:
        """Seconds of each task, in the order of the jobs."""
        dice = random.Random(self.seed)
        short = False
        for index in range(self.number):
            length = self.seconds * dice.uniform(1 - self.spread, 1 + self.spread)
            if self.wide and not self._is_wide(index):
                length *= SHORT if short else 1.0
                short = not short
            yield round(length, 3)

    def jobs(self) -> Iterator[dict[str, Any]]:
        """Fields of each job."""
        for index, length in enumerate(self.lengths()):
            fields: dict[str, Any] = {"name": f"t{index}", "args": f"{length:.3f}"}
            if self.wide:
                fields["wall_time_minutes"] = math.ceil(length / 60)
            if self._is_wide(index):
                width = self.widths[index // self._every % len(self.widths)]
                fields |= {"name": f"wide{index}", "num_nodes": width}
            yield fields

    @property
    def _every(self) -> int:
        return self.number // self.wide

    def _is_wide(self, index: int) -> bool:
        return self.wide > 0 and index % self._every == self._every - 1

    def dump(self) -> str:
        """For the command line."""
        return json.dumps(asdict(self))


def load(text: str) -> Workload:
    """What :meth:`Workload.dump` made."""
    plain = json.loads(text)
    return Workload(**{**plain, "widths": tuple(plain["widths"])})


def main() -> None:
    from balsam.core.models import ApplicationDefinition, BalsamJob

    ApplicationDefinition.register(name="simulated", executable="/bin/sleep")
    common = {"workflow": "simulation", "application": "simulated"}
    page: list[dict[str, Any]] = []
    for job in load(sys.argv[1]).jobs():
        page.append({**common, **job})
        if len(page) == 50_000:
            BalsamJob.objects.bulk_create(page)
            page = []
    BalsamJob.objects.bulk_create(page)


if __name__ == "__main__":
    main()
