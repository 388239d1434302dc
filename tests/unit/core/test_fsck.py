"""Circles in a graph are found wherever they hide, in a time that grows with the edges only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.core.care.fsck import in_cycles

EDGES = st.sets(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=16)


def reaches(edges: set[tuple[int, int]], start: int) -> set[int]:
    """The jobs at the end of a way of one edge or more."""
    found: set[int] = set()
    todo = [start]
    while todo:
        job = todo.pop()
        for child, parent in edges:
            if child == job and parent not in found:
                found.add(parent)
                todo.append(parent)
    return found


@pytest.mark.parametrize(
    ("edges", "found"),
    [
        ([], []),
        ([(2, 1), (3, 2), (3, 1)], []),
        ([(1, 1)], [1]),
        ([(2, 1), (1, 2), (3, 2), (1, 0)], [1, 2]),
        ([(2, 1), (3, 2), (1, 3), (9, 8)], [1, 2, 3]),
        ([(1, 1), (2, 1), (3, 2), (3, 3)], [1, 2, 3]),
    ],
)
def test_jobs_on_circles(edges: list[tuple[int, int]], found: list[int]) -> None:
    assert in_cycles(edges) == found


@given(EDGES)
def test_all_jobs_that_reach_themselves_and_what_lies_between(edges: set[tuple[int, int]]) -> None:
    found = set(in_cycles(edges))
    circular = {job for job in range(9) if job in reaches(edges, job)}
    assert circular <= found
    assert bool(found) == bool(circular)
    for job in found - circular:
        assert circular & reaches(edges, job)
        assert any(job in reaches(edges, other) for other in circular)


def test_a_long_chain() -> None:
    chain = [(number + 1, number) for number in range(200_000)]
    assert in_cycles(chain) == []
    assert len(in_cycles([*chain, (0, 200_000)])) == 200_001
