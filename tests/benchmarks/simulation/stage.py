"""A project prepared for a simulated allocation."""

from __future__ import annotations

from tests.benchmarks.project import Bench
from tests.benchmarks.simulation.case import Allocation


def set_stage(made: Bench, allocation: Allocation) -> None:
    """Say in its settings how large the one node is that stands for all."""
    settings = made.path / "settings.yml"
    unset = "  # cores_per_node: 0"
    text = settings.read_text()
    if unset not in text:
        raise RuntimeError("the template of the settings has no cores_per_node")
    cores = allocation.nodes * allocation.slots
    settings.write_text(text.replace(unset, f"  cores_per_node: {cores}"))
