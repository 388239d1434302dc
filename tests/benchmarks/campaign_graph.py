"""The jobs of a generated campaign: workflows of singles, chains, fans and diamonds, with fates."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from balsam.core.ids import label
from tests.benchmarks import campaign_lives as lives

APPS = ("simulate", "relax", "train", "analyse", "merge")
METHODS = ("pbe", "hse", "scan")
#: How far the campaign is: so much is over, under way, prepared; the rest is new.
OVER, UNDER_WAY, PREPARED = 0.86, 0.90, 0.98
#: Of all jobs, those that a launcher has at this moment.
MOST_LEASED = 1_000
CREATED, AWAITING, RUNNABLE = (lives.NUMBER[name] for name in ("created", "awaiting", "runnable"))
PARENT_FAILED, FINISHED = lives.NUMBER["parent failed"], lives.NUMBER["finished"]
LEASED = {lives.NUMBER["leased"], lives.NUMBER["running"]}
_OVER = (
    ("finished", 970), ("finished at the second attempt", 12), ("failed exit", 8),
    ("failed signal", 3), ("failed oom", 2), ("failed job_time_limit", 3), ("killed", 2),
)  # fmt: skip
_UNDER_WAY = (
    ("finished", 30), ("running", 10), ("leased", 3), ("runnable", 50),
    ("lost with its launcher", 7),
)  # fmt: skip

#: Indices of the parents of each job of a component.
Shape = list[tuple[int, ...]]
SHAPES: dict[str, Shape] = {
    "single": [()],
    "chain": [(), *((index,) for index in range(9))],
    "fan": [(), *((0,) for _ in range(48)), tuple(range(1, 49))],
    "diamond": [(), (0,), (0,), (1, 2)],
}
#: How often each is made: about as many jobs of each of them, but more of fans.
_OFTEN = (*["single"] * 40, *["diamond"] * 9, *["chain"] * 3, *["fan"] * 1)


@dataclass(slots=True)
class Fate:
    """What became of one job: its life, when its parents were done, and how long it ran."""

    kind: int
    ready: float
    wall: float
    who: str


class Plan:
    """``number`` jobs as dicts, in workflows of several sizes, with a fate for each; by a seed."""

    def __init__(self, number: int, seed: int) -> None:
        self.number = number
        self.random = random.Random(seed)
        self.leased = 0
        self.made = 0
        self._lots = {
            lot: [lives.NUMBER[name] for name, weight in lot for _ in range(weight)]
            for lot in (_OVER, _UNDER_WAY)
        }

    def workflows(self) -> Iterator[tuple[str, int]]:
        """Names and sizes: a few of a twelfth of all jobs, more of a tenth and hundredth of it."""
        largest = max(100, self.number // 12)
        sizes = [largest, *[largest // 10] * 5, *[max(1, largest // 100)] * 10]
        left = self.number
        index = 0
        while left > 0:
            size = min(left, max(1, sizes[index % len(sizes)]))
            yield f"campaign-{index:04d}", size
            left -= size
            index += 1

    def jobs(
        self, workflow: str, size: int, begin: float, pace: float
    ) -> Iterator[tuple[dict[str, Any], Fate]]:
        """The jobs of a workflow; they begin at epoch ``begin``, one each ``pace`` seconds."""
        left = size
        while left > 0:
            shape = SHAPES[self.random.choice(_OFTEN)]
            if len(shape) > left:
                shape = SHAPES["single"]
            yield from self._component(workflow, shape, begin + (size - left) * pace)
            left -= len(shape)

    def _component(
        self, workflow: str, shape: Shape, begin: float
    ) -> Iterator[tuple[dict[str, Any], Fate]]:
        progress = self.made / self.number
        done: list[tuple[dict[str, Any], int, float]] = []
        for above in shape:
            parents = [done[index] for index in above]
            row = self._row(workflow, [parent["job_id"] for parent, _, _ in parents])
            life = self._life(progress, [life for _, life, _ in parents])
            wall = round(1.0 + 19.0 * self.random.random(), 3)
            ready = max([begin, *(end for _, _, end in parents)]) + lives.PASSED
            who = f"node{self.random.randrange(64):02d}"
            if life == PARENT_FAILED:
                broken = next(parent for parent, one, _ in parents if one in lives.BROKEN)
                who = label(broken["name"], broken["job_id"])
            fixed, walls = lives.LIVES[life].seconds
            done.append((row, life, ready + fixed + walls * wall))
            yield row, Fate(lives.kind(life, bool(above)), ready, wall, who)

    def _life(self, progress: float, parents: list[int]) -> int:
        if not lives.BROKEN.isdisjoint(parents):
            return PARENT_FAILED
        if progress >= PREPARED:
            return CREATED
        if not lives.FINISHED.issuperset(parents):
            return AWAITING
        if progress >= UNDER_WAY:
            return RUNNABLE
        life = self.random.choice(self._lots[_OVER if progress < OVER else _UNDER_WAY])
        if life in LEASED:
            self.leased += 1
            return life if self.leased <= MOST_LEASED else RUNNABLE
        return life

    def _row(self, workflow: str, parents: list[uuid.UUID]) -> dict[str, Any]:
        index = self.made
        self.made += 1
        row: dict[str, Any] = {
            "job_id": self._uuid(index),
            "name": f"job{index}",
            "workflow": workflow,
            "application": APPS[index % len(APPS)],
            "args": f"--index {index} --input structure.xyz",
            "tags": {"group": str(index % 7), "method": METHODS[index % 3]},
            "input_files": "",
            "wall_time_minutes": 1 + index % 5,
        }
        if index % 11 == 0:
            row["num_nodes"] = 1 + index % 4
        if index % 50 == 0:
            row["priority"] = index % 3
        if parents:
            row["parents"] = parents
        return row

    def _uuid(self, index: int) -> uuid.UUID:
        """As Balsam makes them, in the order of time (a millisecond each) with random ends."""
        value = (1_700_000_000_000 + index) << 80 | self.random.getrandbits(80)
        return uuid.UUID(int=value & ~(0xF << 76 | 0x3 << 62) | 0x7 << 76 | 0x2 << 62)
