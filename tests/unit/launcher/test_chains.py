"""Who follows whom on a node: shares pass on, and none is lost or held twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from balsam.launcher.chains import Chains


def test_the_shortest_queue_is_joined() -> None:
    chains = Chains()
    chains.begin(1, "small")
    chains.begin(2, "small")
    assert chains.append(3, "small", 2) == 1
    assert chains.append(4, "small", 2) == 2
    assert chains.append(5, "small", 2) is None
    assert chains.append(5, "small", 3) == 3


def test_only_equal_shares_are_passed_on() -> None:
    chains = Chains()
    chains.begin(1, "small")
    assert chains.append(2, "large", 8) is None
    assert chains.room(8) == 7


def test_a_share_is_free_when_the_last_of_its_chain_has_left() -> None:
    chains = Chains()
    chains.begin(1, "small")
    chains.append(2, "small", 8)
    assert not chains.leave(1)
    assert chains.leave(2)
    assert chains.append(3, "small", 8) is None


def test_one_that_waits_may_leave_first() -> None:
    chains = Chains()
    chains.begin(1, "small")
    chains.append(2, "small", 8)
    chains.append(3, "small", 8)
    assert not chains.leave(2)
    assert chains.append(4, "small", 8) == 3
    assert not chains.leave(1)
    assert not chains.leave(4)
    assert chains.leave(3)


@given(st.lists(st.tuples(st.sampled_from("bel"), st.integers(0, 30)), max_size=80))
def test_shares_are_conserved(acts: list[tuple[str, int]]) -> None:
    chains = Chains()
    shares = 0
    alive: list[int] = []
    for number, (act, where) in enumerate(acts):
        shape = where % 3
        if act == "b":
            chains.begin(number, shape)
            shares += 1
            alive.append(number)
        elif act == "e":
            before = chains.append(number, shape, 4)
            assert before is None or before in alive
            if before is not None:
                alive.append(number)
        elif alive:
            shares -= chains.leave(alive.pop(where % len(alive)))
        assert shares >= 0
        assert (shares == 0) == (not alive)
    for job in alive:
        shares -= chains.leave(job)
    assert shares == 0
