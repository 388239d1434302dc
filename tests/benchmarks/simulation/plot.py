"""The plot of the documentation: how use depends on the number of nodes, and on time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.simulation.measures import BINS
from tests.benchmarks.simulation.report import Result


def draw(results: Sequence[Result], path: Path) -> None:
    """Write an SVG. Needs matplotlib (the ``plot`` extra)."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "balsam", "font.size": 9})
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    kinds = list(dict.fromkeys(one["kind"] for one in results))
    for kind in kinds:
        kin = sorted((one for one in results if one["kind"] == kind), key=_nodes)
        left.plot(
            [one["nodes"] for one in kin],
            [100 * one["use"]["busy"] for one in kin],
            marker="o", markersize=3, label=kind,
        )  # fmt: skip
    left.set(xscale="log", xlabel="nodes", ylabel="used %", ylim=(0, 100))
    left.set_xticks(sorted({one["nodes"] for one in results}))
    left.get_xaxis().set_major_formatter(matplotlib.ticker.FormatStrFormatter("%d"))
    left.minorticks_off()
    left.legend(frameon=False, fontsize=8)
    for kind in kinds:
        largest = max((one for one in results if one["kind"] == kind), key=_nodes)
        span = largest["use"]["makespan"] / 60
        right.plot(
            [span * (index + 0.5) / BINS for index in range(BINS)],
            [100 * value for value in largest["use"]["profile"]],
            linewidth=1, label=f"{kind}, {largest['nodes']:,} nodes",
        )  # fmt: skip
    right.set(xlabel="minutes", ylabel="busy %", ylim=(0, 102))
    right.legend(frameon=False, fontsize=8)
    figure.savefig(path, metadata={"Date": None, "Creator": None})


def _nodes(result: Any) -> int:
    return int(result["nodes"])
