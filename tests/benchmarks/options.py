"""How much is measured, and on what."""

from __future__ import annotations

import os
from dataclasses import dataclass

SQLITE, POSTGRES = "sqlite", "postgres"
DATABASES = (SQLITE, POSTGRES)
#: The size of project that earlier Balsam was said to manage.
CAMPAIGN_ROWS = 1_200_000


@dataclass(frozen=True)
class Options:
    """``tasks`` of a round, rounds, tasks at once, and the rows of the largest project.

    ``campaign`` is the number of jobs of the generated campaign, in each of ``databases``.
    """

    tasks: int = 1000
    repeat: int = 9
    cores: int = len(os.sched_getaffinity(0))
    rows: int = 1_000_000
    campaign: int = CAMPAIGN_ROWS
    databases: tuple[str, ...] = (SQLITE,)
