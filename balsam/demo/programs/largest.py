"""The largest eigenvalue by power iteration: ``largest.py FILE --iterations N``.

Fails when the matrix is not symmetric, and when N iterations were not enough.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

TOLERANCE = 1e-12


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--iterations", type=int, required=True)
    options = parser.parse_args()
    matrix = np.load(options.file)
    if not np.allclose(matrix, matrix.T):
        sys.exit(f"{options.file} is not symmetric")
    vector = np.ones(len(matrix)) / np.sqrt(len(matrix))
    for _ in range(options.iterations):
        image = matrix @ vector
        value = vector @ image
        if np.linalg.norm(image - value * vector) < TOLERANCE * abs(value):
            break
        vector = image / np.linalg.norm(image)
    else:
        sys.exit(f"no convergence in {options.iterations} iterations")
    np.save(f"largest-{options.file}", value)
    print(f"largest eigenvalue {value}")


if __name__ == "__main__":
    main()
