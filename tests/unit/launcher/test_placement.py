"""Placement over many nodes: nothing held twice, all of it back, and near each other."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.errors import Unsatisfiable
from balsam.launcher.node_pool import NodePool, Placement, Request, requested, slots
from balsam.platform.shape import NodeShape, uniform

shapes = st.builds(
    lambda cores, threads, domains, gpus: uniform(
        cores, threads, min(domains, cores), tuple(f"g{gpu}" for gpu in range(gpus))
    ),
    st.integers(1, 12),
    st.integers(1, 2),
    st.integers(1, 3),
    st.integers(0, 4),
)
requests = st.builds(
    Request,
    num_nodes=st.sampled_from([1, 1, 1, 2, 3]),
    ranks_per_node=st.integers(1, 6),
    threads_per_rank=st.integers(1, 3),
    node_packing_count=st.sampled_from([1, 1, 2, 3, 7, 40]),
    gpus_per_rank=st.sampled_from([0.0, 0.0, 0.25, 1 / 3, 0.5, 1.0, 2.0]),
    whole_nodes=st.sampled_from([False, False, False, True]),
    affinity=st.sampled_from(["none", "core", "numa"]),
)
#: A request comes (and may take so long), the n-th of what runs ends, a node is lost, nodes are
#: reserved for a request.
steps = st.one_of(
    st.tuples(st.just("place"), requests, st.none() | st.integers(1, 100)),
    st.tuples(st.just("end"), st.integers(0, 30), st.none()),
    st.tuples(st.just("remove"), st.integers(0, 30), st.none()),
    st.tuples(st.just("reserve"), requests, st.none()),
)


def nodes(number: int) -> list[str]:
    return [f"n{index}" for index in range(number)]


def part_of_gpu(request: Request, pack: bool) -> float:
    """What a job holds of each GPU that it sees; 0 if it asked for none."""
    if request.whole_nodes or request.num_nodes > 1 or not pack:
        return 1.0
    return request.gpu_part() or float(request.gpus() > 0)


def check_nothing_is_held_twice(
    running: list[tuple[Request, Placement]], shape: NodeShape, pack: bool
) -> None:
    cores: defaultdict[str, float] = defaultdict(float)
    own: defaultdict[str, list[int]] = defaultdict(list)
    parts: defaultdict[str, set[int]] = defaultdict(set)
    gpus: defaultdict[tuple[str, str], float] = defaultdict(float)
    ridden: set[tuple[str, str]] = set()
    for request, placement in running:
        part = part_of_gpu(request, pack)
        for name in placement.nodes:
            cores[name] += placement.cores
            held = placement.core_ids or tuple(range(shape.cores))
            if placement.cores >= 1:
                own[name] += held
            else:
                parts[name].update(held)
            for gpu in placement.gpus:
                if not part:
                    ridden.add((name, gpu))
                gpus[name, gpu] += part
    assert all(total <= shape.cores + 1e-6 for total in cores.values())
    assert all(total <= 1 + 1e-6 for total in gpus.values())
    assert not any(gpus[one] for one in ridden)
    for name, held_cores in own.items():
        assert len(held_cores) == len(set(held_cores))
        assert shape.cores == 1 or not parts[name] & set(held_cores)


@given(
    number=st.integers(1, 5), shape=shapes, pack=st.booleans(), history=st.lists(steps, max_size=60)
)
def test_any_history_leaves_nothing_held_twice_and_nothing_lost(
    number: int, shape: NodeShape, pack: bool, history: list[tuple[str, object, float | None]]
) -> None:
    pool = NodePool(nodes(number), shape, pack=pack)
    running: list[tuple[Request, Placement]] = []
    for now, (what, value, seconds) in enumerate(history):
        if what == "place" and isinstance(value, Request):
            fits = pool.fits(value, seconds, now)
            placement = pool.place(value, seconds, now)
            assert fits == (placement is not None)
            if placement is not None:
                assert set(placement.nodes) <= set(pool.living)
                assert len(set(placement.nodes)) == value.num_nodes
                running.append((value, placement))
        elif what == "reserve" and isinstance(value, Request):
            kept = pool.reserve(value, now)
            assert (kept is None) == (value.num_nodes > len(pool.living))
        elif what == "end" and running and isinstance(value, int):
            _, ended = running.pop(value % len(running))
            pool.give_back(ended)
            pool.give_back(ended)
        elif what == "remove" and pool.living and isinstance(value, int):
            lost = pool.living[value % len(pool.living)]
            pool.remove(lost)
            assert lost not in pool.living
        here = [one for one in running if set(one[1].nodes) & set(pool.living)]
        check_nothing_is_held_twice(here, shape, pack)
    for _, placement in running:
        pool.give_back(placement)
    pool.unreserve()
    left = len(pool.living)
    assert pool.idle_nodes == left and pool.idle_cores == left * shape.cores
    if left:
        everything = pool.place(Request(num_nodes=left, whole_nodes=True))
        assert everything is not None and everything.gpus == shape.gpus
        assert pool.idle_cores == 0


@given(number=st.integers(1, 4), shape=shapes, request_=requests)
def test_what_passes_the_check_fits_an_empty_machine(
    number: int, shape: NodeShape, request_: Request
) -> None:
    pool = NodePool(nodes(number), shape)
    try:
        pool.check(request_)
    except Unsatisfiable:
        assert request_.num_nodes > number or request_.gpus() > len(shape.gpus)
        return
    able = pool.capacity(request_)
    assert able >= 1
    placed = [pool.place(request_) for _ in range(able)]
    assert all(placed) and pool.place(request_) is None
    assert all(len(one.nodes) == request_.num_nodes for one in placed if one)


def test_a_node_in_use_is_filled_before_another_is_begun() -> None:
    pool = NodePool(nodes(3), uniform(4))
    placed = [pool.place(Request()) for _ in range(5)]
    assert [one.nodes[0] for one in placed if one] == ["n0"] * 4 + ["n1"]
    assert pool.idle_nodes == 1
    wide = pool.place(Request(num_nodes=2))
    assert wide is None


def test_wide_jobs_take_whole_nodes_with_all_their_gpus() -> None:
    pool = NodePool(nodes(3), uniform(4, gpus=("3", "2")))
    placement = pool.place(Request(num_nodes=2, ranks_per_node=2, gpus_per_rank=1))
    assert placement == Placement(("n0", "n1"), 4.0, ("3", "2"))
    assert pool.place(Request(num_nodes=2)) is None
    assert pool.idle_nodes == 1 and pool.idle_cores == 4


def test_machines_that_share_no_nodes_give_whole_ones() -> None:
    pool = NodePool(nodes(2), uniform(4, gpus=("0",)), pack=False)
    placed = [pool.place(Request(node_packing_count=4)) for _ in range(3)]
    assert [one and (one.nodes, one.cores, one.gpus) for one in placed] == [
        (("n0",), 4.0, ("0",)), (("n1",), 4.0, ("0",)), None,
    ]  # fmt: skip


def test_parts_of_a_gpu_are_packed_and_whole_ones_left_whole() -> None:
    pool = NodePool(nodes(2), uniform(8, gpus=("0", "1")))
    quarter = Request(gpus_per_rank=0.25)
    placed = [pool.place(quarter) for _ in range(5)]
    assert [one and (one.nodes, one.gpus) for one in placed] == [
        *[(("n0",), ("0",))] * 4, (("n0",), ("1",)),
    ]  # fmt: skip
    whole = pool.place(Request(gpus_per_rank=1))
    assert whole and whole.nodes == ("n1",)
    assert placed[4]
    pool.give_back(placed[4])
    again = pool.place(Request(gpus_per_rank=1))
    assert again and (again.nodes, again.gpus) == (("n0",), ("1",))


def test_cores_come_from_one_domain_next_to_the_gpus() -> None:
    shape = uniform(8, 2, numa_domains=2, gpus=("a", "b", "c", "d"))
    pool = NodePool(nodes(1), shape)
    first = pool.place(Request(ranks_per_node=3))
    assert first and first.core_ids == (0, 1, 2)
    # Domain 0 has one core left: two cores, and a GPU near them, are found in domain 1.
    near = pool.place(Request(ranks_per_node=2, gpus_per_rank=0.5, affinity="core"))
    assert near and (near.core_ids, near.gpus, near.cpus) == ((4, 5), ("c",), (4, 5))
    one = pool.place(Request(gpus_per_rank=1, affinity="numa"))
    assert one and (one.core_ids, one.gpus) == ((3,), ("a",))
    assert set(one.cpus) == {0, 1, 2, 3, 8, 9, 10, 11}
    rest = pool.place(Request(threads_per_rank=4, threads_per_core=2, affinity="core"))
    assert rest and (rest.core_ids, rest.cpus) == ((6, 7), (6, 14, 7, 15))


@given(shape=shapes, request_=requests.filter(lambda request: request.num_nodes == 1))
def test_who_is_confined_has_the_threads_of_its_own_cores(
    shape: NodeShape, request_: Request
) -> None:
    pool = NodePool(nodes(1), shape)
    if request_.gpus() > len(shape.gpus):
        return
    placement = pool.place(request_)
    assert placement
    own = placement.core_ids or tuple(range(shape.cores))
    if request_.affinity == "none":
        assert placement.cpus == ()
    else:
        assert {shape.cpus[core][0] for core in own} <= set(placement.cpus)
        assert len(placement.cpus) == len(set(placement.cpus))
    if request_.affinity == "core":
        assert len(placement.cpus) <= len(own) * shape.threads_per_core


def test_a_lost_node_is_no_longer_counted_on() -> None:
    pool = NodePool(nodes(2), uniform(2))
    wide = Request(num_nodes=2)
    placement = pool.place(wide)
    assert placement
    pool.remove("n0")
    pool.remove("n0")
    with pytest.raises(Unsatisfiable, match="asks for 2 nodes; this launcher has 1"):
        pool.check(wide)
    assert pool.limits.nodes == 1 and pool.living == ("n1",)
    pool.give_back(placement)
    assert pool.idle_cores == 2
    assert pool.reserve(wide) is None


def test_a_share_is_taken_over_unless_the_node_is_kept() -> None:
    pool = NodePool(nodes(2), uniform(1))
    first, second = pool.place(Request(), 10, 0), pool.place(Request(), 20, 0)
    assert first and second
    assert pool.take_over(first, 30, 10)
    kept = pool.reserve(Request(num_nodes=2), 10)
    assert kept and kept.starts == 40
    assert pool.take_over(second, 20, 20)
    assert not pool.take_over(second, 21, 20) and not pool.take_over(second, None, 20)
    pool.give_back(second)
    assert not pool.take_over(second, 1, 20)


def test_slots_are_those_that_can_start_on_the_nodes_as_they_are() -> None:
    pool = NodePool(nodes(10), uniform(4))
    three = Request(ranks_per_node=3)
    assert slots(pool, [three]) == 10
    for _ in range(10):
        pool.place(three)
    assert slots(pool, [three]) == 1  # ten cores are idle, but nowhere three together
    assert slots(pool, [Request()]) == 10
    assert slots(pool, [Request(), three]) == 10
    assert slots(NodePool(nodes(10), uniform(4)), [Request(num_nodes=4)]) == 2


def test_equal_requests_are_one() -> None:
    shape = (1, 2, 3, 1, 1, 0.5, False, "none")
    assert requested(*shape) is requested(*shape) == Request(1, 2, 3, gpus_per_rank=0.5)
