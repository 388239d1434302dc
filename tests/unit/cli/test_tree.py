"""The order of a task graph as a tree."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from balsam.cli.tree import walk


def test_children_come_below_their_parents() -> None:
    edges = [(1, 2), (1, 3), (2, 4), (3, 4), (4, 5)]
    assert list(walk([1, 2, 3, 4, 5, 6], edges)) == [
        (0, 1), (1, 2), (2, 4), (3, 5), (1, 3), (2, 4), (0, 6),
    ]  # fmt: skip


def test_a_selection_is_shown_with_all_below_it() -> None:
    assert list(walk([2], [(1, 2), (2, 3)])) == [(0, 2), (1, 3)]


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
    lines = list(walk(range(1, jobs + 1), sorted(edges)))
    assert {job for _, job in lines} == set(range(1, jobs + 1))
    assert len(lines) <= jobs + len(edges)
