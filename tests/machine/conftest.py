"""The clusters and hosts that tests of this ring may ask for."""

from tests.tools.fixtures import all_hosts, clusters, hosts, slurm

__all__ = ["all_hosts", "clusters", "hosts", "slurm"]
