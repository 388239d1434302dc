"""What a node has, given as numbers or read from the kernel."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.platform import shape
from balsam.platform.shape import NodeShape, observed, uniform


def kernel(place: Path, siblings: dict[int, str], domains: dict[str, str]) -> Path:
    for cpu, text in siblings.items():
        directory = place / "cpu" / f"cpu{cpu}" / "topology"
        directory.mkdir(parents=True)
        (directory / "thread_siblings_list").write_text(f"{text}\n")
    for name, text in domains.items():
        (place / "node" / name).mkdir(parents=True)
        (place / "node" / name / "cpulist").write_text(f"{text}\n")
    return place


PAIRS = {0: "0,4", 1: "1,5", 2: "2,6", 3: "3,7", 4: "0,4", 5: "1,5", 6: "2,6", 7: "3,7"}
HALVES = {"node0": "0-1,4-5", "node1": "2-3,6-7", "node10": "", "possible": "0-10"}


def test_cores_threads_and_domains(tmp_path: Path) -> None:
    found = observed(range(8), kernel(tmp_path, PAIRS, HALVES))
    assert found == NodeShape(4, ((0, 4), (1, 5), (2, 6), (3, 7)), ((0, 1), (2, 3)))
    assert found.threads_per_core == 2


def test_threads_may_count_as_cores(tmp_path: Path) -> None:
    found = observed(range(8), kernel(tmp_path, PAIRS, HALVES), separate_threads=True)
    assert found.cpus == tuple((cpu,) for cpu in range(8))
    assert found.numa == ((0, 1, 4, 5), (2, 3, 6, 7))


def test_only_what_it_is_bound_to(tmp_path: Path) -> None:
    system = kernel(tmp_path, PAIRS, HALVES)
    assert observed({1, 2, 6}, system) == NodeShape(2, ((1,), (2, 6)), ((0,), (1,)))
    assert observed({0, 1}, system).numa == ()


@pytest.mark.parametrize(
    ("online", "allowed", "part"),
    [("0-7", range(8), False), ("0-7", range(4, 8), True), ("0-3", range(4), False)],
)
def test_whether_others_may_have_the_rest(
    tmp_path: Path, online: str, allowed: range, part: bool
) -> None:
    system = kernel(tmp_path, PAIRS, HALVES)
    (system / "cpu" / "online").write_text(f"{online}\n")
    assert observed(allowed, system).part == part


def test_a_kernel_that_tells_nothing(tmp_path: Path) -> None:
    assert observed({3, 1}, tmp_path / "none") == NodeShape(2, ((1,), (3,)))


def test_a_kernel_that_tells_nonsense(tmp_path: Path) -> None:
    system = kernel(tmp_path, {0: "what", 1: "0-"}, {"node0": "?", "node1": "1"})
    assert observed({0, 1}, system) == NodeShape(2, ((0,), (1,)))


def test_this_node() -> None:
    found = shape.this_node()
    assert sorted(cpu for core in found.cpus for cpu in core) == sorted(os.sched_getaffinity(0))
    assert len(found.cpus) == found.cores
    assert shape.this_node(separate_threads=True).cores == len(os.sched_getaffinity(0))


def test_uniform_nodes() -> None:
    assert uniform(2) == NodeShape(2, ((0,), (1,)))
    polaris = uniform(32, 2, 4, ("3", "2", "1", "0"))
    assert polaris.cpus[:2] == ((0, 32), (1, 33)) and polaris.cpus[31] == (31, 63)
    assert polaris.numa[1] == tuple(range(8, 16))
    assert polaris.gpu_numa == (0, 1, 2, 3)
    assert uniform(4, gpus=("0",)).gpu_numa == ()


@given(st.integers(1, 64), st.integers(1, 4), st.integers(1, 8), st.integers(0, 12))
def test_every_core_is_in_one_domain(cores: int, threads: int, domains: int, gpus: int) -> None:
    domains = min(domains, cores)
    found = uniform(cores, threads, domains, [str(gpu) for gpu in range(gpus)])
    assert sorted(cpu for core in found.cpus for cpu in core) == list(range(cores * threads))
    if domains > 1:
        assert sorted(core for domain in found.numa for core in domain) == list(range(cores))
        assert len(found.numa) == domains and all(found.numa)
        assert len(found.gpu_numa) == gpus and list(found.gpu_numa) == sorted(found.gpu_numa)
