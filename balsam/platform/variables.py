"""Variables of the environment that tell a task or hook of its job."""

from __future__ import annotations

import json
from collections.abc import Sequence

#: Linux takes no argument, and no variable, of more than 128 KiB.
LONGEST_LIST = 120_000
PARENT_IDS = "BALSAM_PARENT_IDS"
CHILD_IDS = "BALSAM_CHILD_IDS"
#: What only one job is meant by: those of a launcher that runs inside another job have no part.
OF_ONE_JOB = (PARENT_IDS, CHILD_IDS, "BALSAM_JOB_TIMEOUT", "BALSAM_JOB_ERROR")


def listed(name: str, ids: Sequence[str]) -> dict[str, str]:
    """A variable with a JSON list; left out where it would be too long for one to hold."""
    text = json.dumps(list(ids)) if ids else "[]"
    return {name: text} if len(text) <= LONGEST_LIST else {}
