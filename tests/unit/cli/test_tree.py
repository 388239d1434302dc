"""The order of a task graph as a tree."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from hypothesis import given
from hypothesis import strategies as st

from balsam.cli.tree import AHEAD, BELOW, walk

Edges = Iterable[tuple[int, int]]


class Graph:
    """A graph that counts the jobs it was asked about."""

    def __init__(self, edges: Edges) -> None:
        self.below: dict[int, list[int]] = {}
        for parent, child in edges:
            self.below.setdefault(parent, []).append(child)
        self.asked = 0

    def children(self, jobs: Collection[int], /) -> dict[int, list[int]]:
        self.asked += len(jobs)
        return {job: self.below[job] for job in jobs if job in self.below}


def lines_of(jobs: Iterable[int], edges: Edges) -> Iterator[tuple[int, int]]:
    chosen, edges = list(jobs), list(edges)
    below = {child for parent, child in edges if parent in chosen}
    return walk([job for job in chosen if job not in below], Graph(edges).children)


def test_children_come_below_their_parents() -> None:
    edges = [(1, 2), (1, 3), (2, 4), (3, 4), (4, 5)]
    assert list(lines_of([1, 2, 3, 4, 5, 6], edges)) == [
        (0, 1), (1, 2), (2, 4), (3, 5), (1, 3), (2, 4), (0, 6),
    ]  # fmt: skip


def test_a_selection_is_shown_with_all_below_it() -> None:
    assert list(lines_of([2], [(1, 2), (2, 3)])) == [(0, 2), (1, 3)]


def test_nothing_is_read_far_beyond_the_lines_that_are_taken() -> None:
    roots = iter(range(1, 1_000_000))
    graph = Graph((job, 1_000_000 + job) for job in range(1, 20_000))
    lines = walk(roots, graph.children)
    assert [next(lines) for _ in range(3)] == [(0, 1), (1, 1_000_001), (0, 2)]
    assert graph.asked <= AHEAD + BELOW
    assert next(roots) == AHEAD + 1


def test_a_chain_longer_than_what_is_read_ahead() -> None:
    jobs = 3 * (AHEAD + BELOW)
    lines = list(walk([0], Graph((job, job + 1) for job in range(jobs)).children))
    assert lines == [(job, job) for job in range(jobs + 1)]


@given(
    st.integers(min_value=1, max_value=30).flatmap(
        lambda n: st.tuples(
            st.just(n),
            st.sets(st.tuples(st.integers(1, n), st.integers(1, n)).filter(lambda e: e[0] < e[1])),
        )
    )
)
def test_a_graph_has_at_most_a_line_for_each_job_and_edge(
    graph: tuple[int, set[tuple[int, int]]],
) -> None:
    jobs, edges = graph
    lines = list(lines_of(range(1, jobs + 1), sorted(edges)))
    assert {job for _, job in lines} == set(range(1, jobs + 1))
    assert len(lines) <= jobs + len(edges)
