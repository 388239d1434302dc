"""A small search for the best point in a box: look around at random, then near the best.

Ask for the point of a number, tell what it cost. Which points were told, and in which order, is all
there is to know, so a search that was interrupted is the same again once it was told them again.
"""

from __future__ import annotations

import math
import random

Point = list[float]


class Search:
    """``box`` is the lowest and the highest value of each coordinate."""

    def __init__(self, box: list[tuple[float, float]], seed: int = 0) -> None:
        self.box = box
        self.seed = seed
        self.told: list[tuple[float, Point]] = []

    @property
    def best(self) -> tuple[float, Point]:
        """The lowest cost so far, and where."""
        return min(self.told, default=(math.inf, []))

    def tell(self, x: Point, cost: float) -> None:
        """What the point ``x`` cost."""
        self.told.append((cost, x))

    def ask(self, number: int) -> Point:
        """The point of evaluation ``number``, from 0: the middle, some corners, then chance."""
        if number == 0:
            return [(low + high) / 2 for low, high in self.box]
        if number <= len(self.box):
            return [side[number == axis + 1] for axis, side in enumerate(self.box)]
        chance = random.Random(f"{self.seed}/{number}")
        if number % 3 == 0 or not self.told:
            return [chance.uniform(low, high) for low, high in self.box]
        width = 0.5 / math.sqrt(len(self.told))
        return [
            min(high, max(low, chance.gauss(x, width * (high - low))))
            for x, (low, high) in zip(self.best[1], self.box, strict=True)
        ]
