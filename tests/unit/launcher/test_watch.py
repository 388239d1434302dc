"""Nodes that do not answer are given no tasks, and come back when they do."""

from __future__ import annotations

from typing import Any

import pytest

from balsam.launcher import watch
from balsam.launcher.node_pool import NodePool, Request
from balsam.launcher.watch import Watch
from balsam.platform.shape import uniform

WHOLE = Request(whole_nodes=True)


class Hands:
    """Nodes that answer when a test says so."""

    def __init__(self, *ready: str) -> None:
        self.ready_nodes = frozenset(ready)
        self.suspects: list[str] = []

    def suspect(self, nodes: Any) -> None:
        self.suspects += nodes


def idle(pool: NodePool) -> set[str]:
    """The nodes that are given out."""
    placed = []
    while (placement := pool.place(WHOLE)) is not None:
        placed.append(placement)
    for placement in placed:
        pool.give_back(placement)
    return {placement.nodes[0] for placement in placed}


@pytest.fixture
def pool() -> NodePool:
    return NodePool(("a", "b", "c"), uniform(2))


def test_before_anybody_answers_all_are_given_out(pool: NodePool) -> None:
    Watch(pool, Hands()).look()  # type: ignore[arg-type]
    assert idle(pool) == {"a", "b", "c"}


def test_whoever_falls_silent_rests(pool: NodePool) -> None:
    hands = Hands("a", "b", "c")
    seen = Watch(pool, hands)  # type: ignore[arg-type]
    seen.look()
    hands.ready_nodes = frozenset(("a", "c"))
    seen.look()
    assert idle(pool) == {"a", "c"}
    hands.ready_nodes = frozenset(("a", "b", "c"))
    seen.look()
    assert idle(pool) == {"a", "b", "c"}


def test_what_an_mpirun_lost_is_doubted_for_a_while(
    pool: NodePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(watch.time, "monotonic", lambda: now)
    hands = Hands("a", "b")
    seen = Watch(pool, hands)  # type: ignore[arg-type]
    seen.look()
    seen.doubt(("b", "c"))
    assert hands.suspects == ["b", "c"]
    seen.look()
    assert idle(pool) == {"a"}
    now += watch.DOUBT_SECONDS
    seen.look()
    assert idle(pool) == {"a", "b"}, "c has yet to answer"
    hands.ready_nodes = frozenset(("a", "b", "c"))
    seen.look()
    assert idle(pool) == {"a", "b", "c"}


def test_what_a_resting_node_holds_comes_back_to_it(pool: NodePool) -> None:
    held = pool.place(WHOLE)
    assert held
    pool.rest(held.nodes[0])
    pool.give_back(held)
    assert idle(pool) == {"a", "b", "c"} - {held.nodes[0]}
    pool.resume(held.nodes[0])
    assert idle(pool) == {"a", "b", "c"}


def test_no_node_that_rests_is_kept_for_a_wide_job(pool: NodePool) -> None:
    held = pool.place(Request(num_nodes=2))
    assert held
    pool.reserve(Request(num_nodes=3))
    pool.rest(held.nodes[0])
    assert pool.reservation is None
    assert pool.reserve(Request(num_nodes=3)) is None
    assert pool.reserve(Request(num_nodes=2)) is not None
    pool.give_back(held)
    placed = pool.place(Request(num_nodes=2))
    assert placed and held.nodes[0] not in placed.nodes
