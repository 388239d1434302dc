"""How long wide jobs waited for their nodes, as the record tells."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tests.benchmarks.project_database import seconds

_BEGUN = """
SELECT job.num_nodes, min(event.timestamp) FROM balsam_job job
JOIN balsam_event event ON event.job_id = job.id AND event.to_state = 'RUNNING'
GROUP BY job.id, job.num_nodes ORDER BY job.id DESC
"""


def longest_wait(execute: Callable[[str], Any]) -> float:
    """Seconds for which a job of several nodes waited while jobs added after it were started.

    ``execute`` gives a cursor after a statement.
    """
    first_later, longest = math.inf, 0.0
    for num_nodes, stamp in execute(_BEGUN).fetchall():
        began = seconds(stamp)
        if num_nodes > 1:
            longest = max(longest, began - first_later)
        first_later = min(first_later, began)
    return longest
