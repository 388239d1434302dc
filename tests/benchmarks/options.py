"""How much is measured, and on what."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """``tasks`` of a round, rounds, tasks at once, and the rows of the largest project."""

    tasks: int = 1000
    repeat: int = 9
    cores: int = len(os.sched_getaffinity(0))
    rows: int = 1_000_000
