"""What a launcher offers to run: it says so in its session, for whoever asks why a job waits."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, Protocol

from balsam.core.lookups import is_glob

#: The job mode in which a launcher runs jobs of one rank only.
SERIAL = "serial"
_ROUNDING = 1e-6


class Shape(Protocol):
    """What a job asks for; ``gpus_per_rank`` may be a fraction."""

    @property
    def num_nodes(self) -> int: ...
    @property
    def ranks_per_node(self) -> int: ...
    @property
    def gpus_per_rank(self) -> float: ...


@dataclass(frozen=True)
class Lack:
    """Something a job asks for and a launcher does not have: in words, and how much it would be."""

    words: str
    field: str
    wanted: int
    there: int


@dataclass(frozen=True)
class Offer:
    """The share of a machine that a launcher gives to jobs, which jobs, and until when (UTC).

    ``nodes`` is 0 for a session that said nothing; ``max_ranks_per_node`` is 0 without a limit;
    ``wf_filter`` is a workflow or a glob, '' for all; ``ends`` is None without a time limit.
    """

    nodes: int = 0
    cores_per_node: int = 0
    gpus_per_node: int = 0
    max_ranks_per_node: int = 0
    wf_filter: str = ""
    job_mode: str = ""
    ends: datetime | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "ends": self.ends.isoformat() if self.ends else None}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Offer:
        """The offer behind such values; what is not known here is left out."""
        known = {field.name: plain[field.name] for field in fields(cls) if field.name in plain}
        ends = known.get("ends")
        return cls(**{**known, "ends": datetime.fromisoformat(ends) if ends else None})

    def covers(self, workflow: str) -> bool:
        """Whether it is for the jobs of this workflow."""
        if not self.wf_filter:
            return True
        if is_glob(self.wf_filter):
            return fnmatch.fnmatchcase(workflow, self.wf_filter)
        return workflow == self.wf_filter

    def takes(self, shape: Shape) -> bool:
        """Whether its job mode is for jobs of this shape."""
        return self.job_mode != SERIAL or shape.num_nodes == shape.ranks_per_node == 1

    def lacks(self, shape: Shape) -> Lack | None:
        """What a job of this shape asks for in vain."""
        if not self.nodes:
            return None
        asked = (
            ("num_nodes", "node", shape.num_nodes, self.nodes),
            ("ranks_per_node", "rank", shape.ranks_per_node, self.max_ranks_per_node or math.inf),
            ("gpus_per_rank", "GPU", gpus(shape), self.gpus_per_node),
        )
        for field, what, wanted, there in asked:
            if wanted > there:
                each = "" if what == "node" else " per node"
                return Lack(f"{count(wanted, what)}{each}", field, wanted, int(there))
        return None

    def seconds_left(self, now: datetime) -> float | None:
        """Seconds until its time limit, not below 0; None without one."""
        return max(0.0, (self.ends - now).total_seconds()) if self.ends else None


def gpus(shape: Shape) -> int:
    """Whole GPUs per node; fractions of one GPU are added up over the ranks."""
    wanted = shape.ranks_per_node * shape.gpus_per_rank
    return int(-(-(wanted - _ROUNDING) // 1)) if wanted > 0 else 0


def count(number: int, what: str) -> str:
    """``1 node``, ``2 nodes``."""
    return f"{number} {what}{'' if number == 1 else 's'}"
