"""Clusters and hosts for tests: started once, made as new for each, ended with the test run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.tools import hosts as host_tools
from tests.tools import slurm as slurm_tools
from tests.tools.hosts import Hosts
from tests.tools.slurm import Cluster

NODES = 4
HOSTS = 3
APART = "apart"
TOGETHER = "together"
#: A cluster of more nodes, apart as well.
MANY = "many"
MANY_NODES = 16


@pytest.fixture(scope="session")
def clusters() -> Iterator[Callable[[str], Cluster]]:
    """Slurm clusters, by how their nodes are: ``apart``, ``together`` or ``many``."""
    reason = slurm_tools.missing()
    if reason:
        pytest.skip(reason)
    running: dict[str, Cluster] = {}

    def cluster(how: str) -> Cluster:
        if how not in running:
            # pytest's own directories are too long for the paths of sockets.
            directory = Path(tempfile.mkdtemp(prefix="bsl-", dir="/tmp"))
            nodes = MANY_NODES if how == MANY else NODES
            port = slurm_tools.free_port(28800, nodes + 1)
            running[how] = Cluster(directory, nodes, port=port, apart=how != TOGETHER, bound=True)
            running[how].start()
        return running[how]

    yield cluster
    for one in running.values():
        one.stop()


@pytest.fixture
def slurm(request: pytest.FixtureRequest, clusters: Callable[[str], Cluster]) -> Iterator[Cluster]:
    """A Slurm cluster of idle nodes: four of them, apart, unless the test asks for another."""
    cluster = clusters(getattr(request, "param", APART))
    cluster.refresh()
    yield cluster
    cluster.refresh()


@pytest.fixture(scope="session")
def all_hosts() -> Iterator[Hosts]:
    """Three hosts with a network between them."""
    reason = host_tools.missing()
    if reason:
        pytest.skip(reason)
    with host_tools.temporary(HOSTS) as made:
        yield made


@pytest.fixture
def hosts(all_hosts: Hosts) -> Iterator[Hosts]:
    """Three hosts, all on and connected."""
    all_hosts.refresh()
    yield all_hosts
    all_hosts.refresh()
