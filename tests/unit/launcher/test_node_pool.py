"""Placement: never more than there is, all of it back, and refusals with their numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.errors import Unsatisfiable
from balsam.launcher.node_pool import NodePool, Placement, Request, slots
from balsam.platform.shape import uniform

requests = st.builds(
    Request,
    ranks_per_node=st.integers(1, 12),
    threads_per_rank=st.integers(1, 6),
    threads_per_core=st.integers(1, 4),
    node_packing_count=st.integers(1, 9),
    gpus_per_rank=st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 1.0, 2.0]),
)
#: What happens to a pool: a request comes, or the n-th of those running ends.
histories = st.lists(st.one_of(requests, st.integers(0, 20)), max_size=60)


def one_node(cores: int, gpus: int = 0, max_ranks: int = 0) -> NodePool:
    return NodePool(("n",), uniform(cores, gpus=tuple(map(str, range(gpus)))), max_ranks)


def wants_whole_gpus(request: Request) -> bool:
    return request.gpus() > 0 and not request.gpu_part()


@given(cores=st.integers(1, 16), gpus=st.integers(0, 4), history=histories)
def test_never_over_committed_and_all_comes_back(
    cores: int, gpus: int, history: list[Request | int]
) -> None:
    pool = one_node(cores, gpus)
    running: list[tuple[Request, Placement]] = []
    for happening in history:
        if isinstance(happening, Request):
            placement = pool.place(happening)
            if placement is not None:
                running.append((happening, placement))
        elif running:
            pool.give_back(running.pop(happening % len(running))[1])
        assert sum(placement.cores for _, placement in running) <= cores + 1e-4
        own = [gpu for asked, one in running if wants_whole_gpus(asked) for gpu in one.gpus]
        shared = {gpu for asked, one in running if not wants_whole_gpus(asked) for gpu in one.gpus}
        assert len(own) == len(set(own)) and not shared & set(own)
        assert shared | set(own) <= set(map(str, range(gpus)))
    for _, placement in running:
        pool.give_back(placement)
    assert pool.idle_cores == pytest.approx(cores, abs=1e-6)
    whole = Request(ranks_per_node=cores, gpus_per_rank=gpus / cores)
    assert pool.place(whole) is not None


@given(cores=st.integers(1, 16), gpus=st.integers(0, 4), request_=requests)
def test_what_passes_the_check_fits_an_empty_node(cores: int, gpus: int, request_: Request) -> None:
    pool = one_node(cores, gpus)
    try:
        pool.check(request_)
    except Unsatisfiable:
        assert request_.gpus() > gpus
    else:
        placement = pool.place(request_)
        assert placement is not None
        if request_.gpus():
            assert len(placement.gpus) == request_.gpus()


@given(count=st.integers(2, 50), cores=st.integers(1, 64))
def test_so_many_packed_jobs_fill_a_node(count: int, cores: int) -> None:
    pool = one_node(cores)
    request = Request(node_packing_count=count)
    assert all(pool.place(request) for _ in range(count))
    assert pool.place(request) is None
    assert slots(pool, [request]) == 0


@pytest.mark.parametrize(
    ("request_", "cores"),
    [
        (Request(), 1),
        (Request(ranks_per_node=4, threads_per_rank=2), 8),
        (Request(ranks_per_node=4, threads_per_rank=2, threads_per_core=4), 2),
        (Request(ranks_per_node=3, threads_per_rank=1, threads_per_core=2), 2),
    ],
)
def test_cores_of_a_request(request_: Request, cores: int) -> None:
    assert request_.cores() == cores


@pytest.mark.parametrize(
    ("ranks", "per_rank", "gpus"), [(1, 0, 0), (4, 0.25, 1), (3, 1 / 3, 1), (3, 0.5, 2), (2, 2, 4)]
)
def test_gpus_of_a_request(ranks: int, per_rank: float, gpus: int) -> None:
    assert Request(ranks_per_node=ranks, gpus_per_rank=per_rank).gpus() == gpus


def test_more_ranks_than_cores_take_the_whole_node() -> None:
    pool = one_node(2)
    placement = pool.place(Request(ranks_per_node=4))
    assert placement is not None and placement.cores == 2
    assert pool.place(Request()) is None
    pool.give_back(placement)
    assert pool.place(Request()) is not None


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Request(num_nodes=2), "asks for 2 nodes; this launcher has 1"),
        (Request(ranks_per_node=5), "asks for 5 ranks per node; this launcher allows 4"),
        (Request(gpus_per_rank=3), "asks for 3 GPUs per node; the node has 2"),
    ],
)
def test_what_can_never_fit_is_refused_with_the_numbers(request_: Request, words: str) -> None:
    with pytest.raises(Unsatisfiable, match=words):
        one_node(4, 2, max_ranks=4).check(request_)


def test_who_has_gpus_that_nobody_told_of_is_told_how_to() -> None:
    words = r"asks for 1 GPU per node; the node has 0 \(if there .* --gpus-per-node or a machine"
    with pytest.raises(Unsatisfiable, match=words):
        one_node(4).check(Request(gpus_per_rank=1))


def test_slots_follow_the_recent_requests() -> None:
    pool = one_node(8)
    assert slots(pool, []) == 8
    assert slots(pool, [Request(), Request(threads_per_rank=3)]) == 4
    assert slots(pool, [Request(node_packing_count=32)]) == 32
    assert slots(pool, [Request(threads_per_rank=64)]) == 1


def test_whole_nodes_are_shared_with_nobody() -> None:
    pool = one_node(4, 2)
    whole = Request(whole_nodes=True)
    single = pool.place(Request())
    assert single is not None
    assert pool.place(whole) is None
    pool.give_back(single)
    placement = pool.place(whole)
    assert placement is not None
    assert (placement.cores, placement.gpus) == (4, ("0", "1"))
    assert pool.place(Request(node_packing_count=64)) is None
    pool.give_back(placement)
    again = pool.place(Request(gpus_per_rank=2))
    assert again is not None and again.gpus == ("0", "1")


def test_with_plenty_of_jobs_each_idle_node_gets_one_before_any_is_filled() -> None:
    pool = NodePool(["n0", "n1", "n2"], uniform(4))
    pool.plenty = True
    nodes = [placed.nodes[0] for _ in range(5) if (placed := pool.place(Request()))]
    assert nodes == ["n0", "n1", "n2", "n2", "n2"]
    pool.plenty = False
    assert pool.place(Request()) is not None


def test_where_jobs_differ_nodes_are_filled_one_by_one_however_many_there_are() -> None:
    pool = NodePool(["n0", "n1", "n2"], uniform(4))
    pool.plenty = True
    requests = [Request(), Request(threads_per_rank=2), Request()]
    assert [placed.nodes for one in requests if (placed := pool.place(one))] == [
        ("n0",),
        ("n0",),
        ("n0",),
    ]
