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
#: So little more than whole GPUs is an error of fractions that were added up.
ROUNDING = 1e-6


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
    ``wf_filter`` is a workflow or a glob, '' for all; ``tags`` are names and values that a job's
    tags must contain; ``ends`` is None without a time limit. ``node_names`` is the list of nodes in
    bracket form, in batch job ``batch_id`` of ``scheduler``, both '' outside of one.
    """

    nodes: int = 0
    cores_per_node: int = 0
    gpus_per_node: int = 0
    max_ranks_per_node: int = 0
    wf_filter: str = ""
    job_mode: str = ""
    ends: datetime | None = None
    tags: tuple[tuple[str, str], ...] = ()
    scheduler: str = ""
    batch_id: str = ""
    node_names: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "ends": self.ends.isoformat() if self.ends else None}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Offer:
        """The offer behind such values; what is not known here is left out."""
        known = {field.name: plain[field.name] for field in fields(cls) if field.name in plain}
        ends = known.get("ends")
        known["ends"] = datetime.fromisoformat(ends) if ends else None
        known["tags"] = tuple((name, value) for name, value in known.get("tags") or ())
        return cls(**known)

    @property
    def what(self) -> str:
        """Which jobs it is for: ``'sweep-*' with the tag colour=red``."""
        tags = ", ".join(f"{name}={value}" for name, value in self.tags)
        words = f"the tag{'s' if len(self.tags) > 1 else ''} {tags}" if tags else ""
        named = f"'{self.wf_filter}'" if self.wf_filter else ""
        return " with ".join(part for part in (named or (words and "jobs"), words) if part)

    def covers(self, workflow: str, tags: Mapping[str, Any] | None = None) -> bool:
        """Whether it is for jobs of this workflow with these tags."""
        there = tags or {}
        if any(name not in there or _text(there[name]) != value for name, value in self.tags):
            return False
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


def _text(value: object) -> str:
    """A tag's value as the database compares it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def gpus(shape: Shape) -> int:
    """Whole GPUs per node; fractions of one GPU are added up over the ranks."""
    wanted = shape.ranks_per_node * shape.gpus_per_rank
    return int(-(-(wanted - ROUNDING) // 1)) if wanted > 0 else 0


def count(number: int, what: str) -> str:
    """``1 node``, ``2 nodes``."""
    return f"{number} {what}{'' if number == 1 else 's'}"
