"""Reservations: wide jobs start in time, and narrow ones use what is idle until then."""

from __future__ import annotations

import heapq
from dataclasses import replace

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


def test_what_ends_early_lets_nothing_delay_the_head() -> None:
    pool = pool_of(2)
    first, second, *_ = filled(pool, 36_000, 36_000, 100, 100)
    kept = pool.reserve(WIDE, 0.0)
    assert kept and kept.starts == 36_000
    pool.give_back(first)
    assert kept.starts == 36_000, "there is another"
    short = pool.place(NARROW, 50, 0.0)
    assert short and kept.starts == 36_000
    pool.give_back(second)
    assert kept.starts == 100 and pool.place(NARROW, 101, 0.0) is None


def test_a_node_that_is_taken_for_another_lets_the_head_start_earlier() -> None:
    pool = pool_of(3, 1)
    running = filled(pool, 30, 10, 20)
    kept = pool.reserve(WIDE, 0.0)
    assert kept and kept.starts == 20
    pool.give_back(running[0])
    assert kept.starts == 10 and not kept.lets(15, 0.0)


def with_gpus(pool: NodePool, threads: int = 2) -> Request:
    pool.place(Request(gpus_per_rank=1, threads_per_rank=threads), 50, 0.0)
    head = Request(gpus_per_rank=1, threads_per_rank=threads)
    assert not pool.fits(head) and pool.reserve(head, 0.0)
    return head


def test_what_waits_for_a_gpu_only_leaves_cores_to_others() -> None:
    pool = NodePool(["n"], replace(uniform(8), gpus=("0",)))
    head = with_gpus(pool)
    assert pool.rooms().free == ((0.0, 4.0),)
    for threads in (3, 1):
        assert pool.place(Request(threads_per_rank=threads), None, 0.0)
    assert not pool.fits(NARROW, None, 0.0) and pool.place(NARROW, None, 0.0) is None
    assert not pool.rooms().free
    assert pool.place(NARROW, 40, 0.0), "until it can start"
    assert pool.reservation and pool.reservation.request == head


def test_halves_of_cores_count_for_what_waits_for_a_gpu() -> None:
    pool = NodePool(["n"], replace(uniform(4), gpus=("0",)))
    with_gpus(pool, 1)
    half = Request(node_packing_count=8)
    assert [bool(pool.place(half, None, 0.0)) for _ in range(5)] == [True] * 4 + [False]


def test_a_job_that_sees_a_gpu_does_not_take_it_from_who_waits() -> None:
    pool = NodePool(["n"], replace(uniform(8), gpus=("0", "1")))
    assert pool.place(Request(gpus_per_rank=1), 50, 0.0)
    assert pool.reserve(Request(gpus_per_rank=2), 0.0)
    assert pool.place(NARROW, None, 0.0) is None
    assert pool.place(Request(ranks_per_node=2), None, 0.0)


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
