"""What a step or a run reports back: the outcome.

An outcome is returned, never saved, by what produced it; ``balsam.core.advance`` commits it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """The next state of a job, why, and what the event should keep.

    ``data`` must be JSON-serialisable; for the end of an attempt its keys are ``cause`` (one of
    ``states.CAUSES``), ``attempt``, ``returncode``, ``wall_seconds``, ``cpu_seconds``,
    ``max_rss_kb``, ``read_bytes``, ``write_bytes``, ``nodes``, ``cores``, ``gpus`` and ``tail``.
    """

    state: str
    message: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)

    def with_words(self, words: str) -> str:
        """The message with more words in its first line; below that may be a program's output."""
        first, line, rest = self.message.partition("\n")
        return f"{first.rstrip().removesuffix('.')}{words}{line}{rest}"
