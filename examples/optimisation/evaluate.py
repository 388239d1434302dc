"""The program to optimise: train a small model and write down how well it has learnt.

``evaluate.py --rate R --momentum M``; ``EPOCHS`` in the environment is how long to train. Each
epoch adds a line with the cost so far to ``curve.txt``; the last cost goes into ``result.json``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sys
from pathlib import Path

STEPS_PER_EPOCH = 50
DEGREE = 3


def samples() -> list[tuple[list[float], float]]:
    """Points of a curve, with some noise; the same ones in every run."""
    noise = random.Random(1)
    points = []
    for number in range(40):
        x = number / 20 - 1
        y = math.sin(3 * x) + noise.gauss(0, 0.05)
        points.append(([x**power for power in range(DEGREE + 1)], y))
    return points


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--momentum", type=float, required=True)
    options = parser.parse_args()
    data = samples()
    weights = [0.0] * (DEGREE + 1)
    speed = [0.0] * (DEGREE + 1)
    cost = math.inf
    with open("curve.txt", "w") as curve:
        for _ in range(int(os.environ.get("EPOCHS", "150"))):
            for _ in range(STEPS_PER_EPOCH):
                slope = [0.0] * (DEGREE + 1)
                cost = 0.0
                for powers, y in data:
                    error = sum(w * p for w, p in zip(weights, powers, strict=True)) - y
                    cost += error * error / len(data)
                    for index, power in enumerate(powers):
                        slope[index] += 2 * error * power / len(data)
                speed = [
                    options.momentum * v - options.rate * s
                    for v, s in zip(speed, slope, strict=True)
                ]
                weights = [w + v for w, v in zip(weights, speed, strict=True)]
            if not cost < 1e6:
                sys.exit(f"diverged with rate {options.rate} and momentum {options.momentum}")
            print(cost, file=curve, flush=True)
    Path("result.json").write_text(json.dumps({"cost": cost}))


if __name__ == "__main__":
    main()
