"""All eigenvalues of a symmetric matrix, on several MPI ranks: ``eigen.py FILE``.

The first rank brings the matrix into tridiagonal form (Householder reflections). Then every rank
finds its share of the eigenvalues by bisection: how many of them lie below x is the number of
negative pivots of T - x (Sturm). See Golub and Van Loan, Matrix Computations, sections 8.3 and 8.4.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from mpi4py import MPI

#: Halvings of an interval: more than the bits of a float.
HALVINGS = 64


def tridiagonal(matrix: Any) -> tuple[Any, Any]:
    """Diagonal and off-diagonal of a tridiagonal matrix with the same eigenvalues."""
    a = np.array(matrix)
    for k in range(len(a) - 2):
        v = a[k + 1 :, k].copy()
        alpha = -np.copysign(np.linalg.norm(v), v[0])
        v[0] -= alpha
        length = np.linalg.norm(v)
        if length:
            v /= length
            rest = a[k + 1 :, k + 1 :]
            p = rest @ v
            w = p - (v @ p) * v
            rest -= 2 * (np.outer(v, w) + np.outer(w, v))
        a[k + 1, k] = alpha
    return np.diagonal(a).copy(), np.diagonal(a, -1).copy()


def count_below(x: Any, diagonal: Any, beside: Any) -> Any:
    """For each number in ``x``, how many eigenvalues are less."""
    tiny = np.finfo(float).tiny
    pivot = diagonal[0] - x
    count = (pivot < 0).astype(int)
    for d, e in zip(diagonal[1:], beside, strict=True):
        pivot = d - x - e * e / np.where(pivot == 0, tiny, pivot)
        count += pivot < 0
    return count


def bisect(which: Any, diagonal: Any, beside: Any) -> Any:
    """The eigenvalues of those ranks in ascending order (0 is the lowest)."""
    around = np.abs(np.append(beside, 0)) + np.abs(np.insert(beside, 0, 0))
    low: Any = np.full(len(which), np.min(diagonal - around))
    high: Any = np.full(len(which), np.max(diagonal + around))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        above = count_below(middle, diagonal, beside) > which
        high = np.where(above, middle, high)
        low = np.where(above, low, middle)
    return (low + high) / 2


def main() -> None:
    world = MPI.COMM_WORLD
    file = sys.argv[1]
    form = tridiagonal(np.load(file)) if world.rank == 0 else None
    diagonal, beside = world.bcast(form)
    mine = np.arange(world.rank, len(diagonal), world.size)
    print(f"rank {world.rank} of {world.size} finds {len(mine)} eigenvalues", flush=True)
    parts = world.gather(bisect(mine, diagonal, beside))
    if parts is not None:
        np.save(f"eigenvalues-{file}", np.sort(np.concatenate(parts)))


if __name__ == "__main__":
    main()
