"""Reservations: wide jobs start in time, and narrow ones use what is idle until then."""

from __future__ import annotations

import heapq

from hypothesis import given
from hypothesis import strategies as st

from balsam.launcher.node_pool import NodePool, Placement, Request
from balsam.platform.shape import uniform

WIDE = Request(num_nodes=2)
NARROW = Request()


def pool_of(number: int, cores: int = 2) -> NodePool:
    return NodePool([f"n{index}" for index in range(number)], uniform(cores))


def filled(pool: NodePool, *seconds: float | None) -> list[Placement]:
    placed = [pool.place(NARROW, one, 0.0) for one in seconds]
    return [one for one in placed if one]


def test_the_nodes_that_are_free_first_are_kept() -> None:
    pool = pool_of(3, 1)
    filled(pool, 30, 10, 20)
    kept = pool.reserve(WIDE, 5.0)
    assert kept and [node.name for node in kept.nodes] == ["n1", "n2"]
    assert kept.starts == 20


def test_narrow_jobs_use_other_nodes_or_end_in_time() -> None:
    pool = pool_of(3)
    filled(pool, 10, 10, 20, 20, 60)
    kept = pool.reserve(WIDE, 0.0)
    assert kept and {node.name for node in kept.nodes} == {"n0", "n1"}
    other = pool.place(NARROW, None, 0.0)
    assert other and other.nodes == ("n2",)
    assert pool.place(NARROW, 5, 0.0) is None


def test_nothing_passes_where_it_is_not_known_when_the_head_could_start() -> None:
    pool = pool_of(2)
    filled(pool, None)
    kept = pool.reserve(WIDE, 0.0)
    assert kept and kept.starts is None
    assert pool.place(NARROW, 1, 0.0) is None and not pool.fits(NARROW, 1, 0.0)


def test_what_was_reserved_is_given_to_whom_it_was_for() -> None:
    pool = pool_of(2)
    running = filled(pool, 10)
    assert pool.reserve(WIDE, 0.0) and pool.place(WIDE, 5, 0.0) is None
    short = pool.place(NARROW, 10, 0.0)
    assert short and pool.place(NARROW, 11, 0.0) is None
    for placement in (*running, short):
        pool.give_back(placement)
    assert pool.place(NARROW, 11, 0.0) is None
    wide = pool.place(WIDE, 5, 10.0)
    assert wide and pool.reservation is None


def test_a_node_that_gets_idle_by_chance_is_taken_for_one_in_use() -> None:
    pool = pool_of(3, 1)
    running = filled(pool, 30, 10, 20)
    kept = pool.reserve(WIDE, 0.0)
    pool.give_back(running[0])
    assert kept and {node.name for node in kept.nodes} == {"n0", "n1"}
    assert pool.place(NARROW, 99, 0.0) is None and pool.place(WIDE, 5, 0.0) is None
    pool.give_back(running[2])
    assert {node.name for node in kept.nodes} == {"n0", "n2"}
    wide = pool.place(WIDE, 5, 0.0)
    assert wide and set(wide.nodes) == {"n0", "n2"}


def test_a_lost_node_ends_the_reservation() -> None:
    pool = pool_of(3, 1)
    filled(pool, 30, 10, 20)
    assert pool.reserve(WIDE, 0.0)
    pool.remove("n1")
    assert pool.reservation is None
    again = pool.reserve(WIDE, 0.0)
    assert again and again.starts == 30


def test_a_job_of_one_node_gets_a_node_that_is_kept_from_narrower_ones() -> None:
    pool = pool_of(2, 2)
    running = filled(pool, 10, 20, 30, 40)
    pool.give_back(running[0])
    whole = Request(ranks_per_node=2)
    assert not pool.fits(whole)
    kept = pool.reserve(whole, 0.0)
    assert kept and kept.nodes[0].name == "n0" and kept.starts == 20
    assert pool.place(NARROW, 21, 0.0) is None
    short = pool.place(NARROW, 20, 0.0)
    assert short and short.nodes == ("n0",)
    pool.give_back(running[1])
    assert pool.place(whole) is None
    pool.give_back(short)
    assert pool.place(whole)


jobs = st.lists(
    st.tuples(
        st.integers(1, 4),  # nodes
        st.integers(1, 3),  # cores, if it is one node
        st.integers(1, 20),  # seconds
        st.integers(0, 10),  # after the one before
    ),
    min_size=1,
    max_size=50,
)


@given(number=st.integers(4, 8), arrivals=jobs)
def test_the_head_starts_as_soon_as_what_ran_at_its_reservation_has_ended(
    number: int, arrivals: list[tuple[int, int, int, int]]
) -> None:
    pool = pool_of(number, 3)
    queue: list[tuple[Request, int]] = []
    running: list[tuple[float, int, Placement]] = []
    waiting: list[tuple[float, Request, int]] = []
    when = 0.0
    for nodes, cores, seconds, after in arrivals:
        when += after
        wanted = Request(num_nodes=nodes, ranks_per_node=cores if nodes == 1 else 1)
        waiting.append((when, wanted, seconds))
    latest: float | None = None
    now = 0.0
    while waiting or queue or running:
        now = min([one[0] for one in waiting[:1]] + [one[0] for one in running[:1]])
        while running and running[0][0] <= now:
            pool.give_back(heapq.heappop(running)[2])
        while waiting and waiting[0][0] <= now:
            _, wanted, seconds = waiting.pop(0)
            queue.append((wanted, seconds))
        head = True
        for one in list(queue):
            wanted, seconds = one
            placement = pool.place(wanted, seconds, now)
            if placement is not None:
                if head and latest is not None:
                    assert now <= latest
                    latest = None
                queue.remove(one)
                heapq.heappush(running, (now + seconds, id(placement), placement))
            elif head:
                head = False
                if pool.reservation is None:
                    latest = max(end for end, _, _ in running)
                    kept = pool.reserve(wanted, now)
                    assert kept and kept.starts is not None and kept.starts <= latest
        assert latest is None or now <= latest
    assert pool.idle_nodes == number and pool.reservation is None
