"""Make random matrices: ``make.py COUNT``; all but the last of them are symmetric."""

from __future__ import annotations

import sys

import numpy as np

SMALLEST, LARGEST = 30, 60


def main() -> None:
    count = int(sys.argv[1])
    random = np.random.default_rng()
    for number in range(count):
        size = int(random.integers(SMALLEST, LARGEST, endpoint=True))
        matrix = random.random((size, size))
        np.save(f"matrix{number}.npy", (matrix + matrix.T) / 2)
    np.save("lopsided.npy", random.random((SMALLEST, SMALLEST)))
    print(f"{count} symmetric matrices and a lopsided one")


if __name__ == "__main__":
    main()
