"""Who follows whom on a node: shares pass on, and none is lost or held twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from balsam.launcher.chains import Chains


def join(chains: Chains, job: int, shape: str | int, longest: int) -> int | None:
    """Join the shortest queue; whom the job follows."""
    ends = chains.shortest(shape, longest)
    if ends is None:
        return None
    chains.append(job, ends[1])
    return ends[1]


def test_the_shortest_queue_is_joined() -> None:
    chains = Chains()
    chains.begin(1, "small")
    chains.begin(2, "small")
    assert join(chains, 3, "small", 2) == 1
    assert join(chains, 4, "small", 2) == 2
    assert join(chains, 5, "small", 2) is None
    assert chains.shortest("small", 3) == (1, 3)


def test_only_equal_shares_are_passed_on() -> None:
    chains = Chains()
    chains.begin(1, "small")
    assert chains.shortest("large", 8) is None
    assert chains.room({"small": 8}.__getitem__) == 7


def test_a_share_is_free_when_the_last_of_its_chain_has_left() -> None:
    chains = Chains()
    chains.begin(1, "small")
    chains.append(2, 1)
    assert not chains.leave(1)
    assert chains.leave(2)
    assert chains.shortest("small", 8) is None


def test_one_that_waits_may_leave_first() -> None:
    chains = Chains()
    chains.begin(1, "small")
    chains.append(2, 1)
    chains.append(3, 2)
    assert not chains.leave(2)
    chains.append(4, 3)
    assert not chains.leave(1)
    assert not chains.leave(4)
    assert chains.leave(3)


def test_nobody_joins_a_queue_that_was_shut_before_one_has_left() -> None:
    chains = Chains()
    chains.begin(1, "small")
    chains.begin(2, "small")
    chains.append(3, 2)
    chains.shut(1)
    assert chains.shortest("small", 8) == (2, 3)
    chains.shut(3)
    assert chains.shortest("small", 8) is None and not chains.room(lambda shape: 8)
    assert not chains.leave(2)
    assert chains.shortest("small", 8) == (3, 3)
    assert chains.leave(1) and chains.leave(3)


@given(st.lists(st.tuples(st.sampled_from("bels"), st.integers(0, 30)), max_size=80))
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
            before = join(chains, number, shape, 4)
            assert before is None or before in alive
            if before is not None:
                alive.append(number)
        elif act == "s" and (ends := chains.shortest(shape, 4)):
            chains.shut(ends[where % 2])
        elif act == "l" and alive:
            shares -= chains.leave(alive.pop(where % len(alive)))
        assert shares >= 0
        assert (shares == 0) == (not alive)
    for job in alive:
        shares -= chains.leave(job)
    assert shares == 0
