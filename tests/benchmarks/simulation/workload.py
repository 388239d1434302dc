"""Jobs of simulated lengths, put into the project that the environment names.

``python -m tests.benchmarks.simulation.workload JSON``, JSON being a :class:`Workload`.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Workload:
    """``number`` tasks that take ``seconds`` each on average, ``spread`` of that more or less.

    Lengths are evenly distributed, the same for the same ``seed``. A task takes a core; of the
    jobs, ``wide`` take ``widths`` nodes each, in turn, by mpirun; they are spread evenly among the
    narrow ones.
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
        for _ in range(self.number):
            yield round(self.seconds * dice.uniform(1 - self.spread, 1 + self.spread), 3)

    def jobs(self) -> Iterator[dict[str, Any]]:
        """Fields of each job."""
        every = self.number // self.wide if self.wide else 0
        for index, length in enumerate(self.lengths()):
            fields = {"name": f"t{index}", "args": f"{length:.3f}"}
            if every and index % every == every - 1:
                width = self.widths[index // every % len(self.widths)]
                yield {**fields, "name": f"wide{index}", "num_nodes": width}
            else:
                yield fields

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
