"""Run in a project: add a campaign in the middle of its life, with a graph, tags and histories."""

from __future__ import annotations

import sys

from django.db.models import QuerySet

from balsam import states
from balsam.core.advance import Hop, advance_set
from balsam.core.models import ApplicationDefinition, BalsamJob, Dependency

BEFORE = (states.READY, states.STAGED_IN, states.PREPROCESSED)
DONE = (states.RUNNING, states.RUN_DONE, states.POSTPROCESSED, states.JOB_FINISHED)
FAILED = (states.RUNNING, states.RUN_ERROR, states.FAILED)
WORKFLOWS = 10
CHILDREN = 10


def main(number: int) -> None:
    """Of ``number`` jobs in a tree of tens, 60 % have finished and 10 % failed."""
    ApplicationDefinition.register(name="hello", executable="echo hello")
    BalsamJob.objects.bulk_create(
        {
            "name": f"job{index}",
            "workflow": f"workflow{index % WORKFLOWS}",
            "application": "hello",
            "args": str(index),
            "tags": {"group": str(index % 7)},
        }
        for index in range(number)
    )
    keys = list(BalsamJob.objects.order_by("id").values_list("id", flat=True))
    Dependency.objects.bulk_create(
        Dependency(child_id=keys[index], parent_id=keys[index // CHILDREN])
        for index in range(CHILDREN, number)
    )
    _move(keys, states.CREATED, BEFORE)
    finished, failed = keys[: number * 6 // 10], keys[number * 6 // 10 : number * 7 // 10]
    _move(finished, states.PREPROCESSED, DONE)
    _move(failed, states.PREPROCESSED, FAILED)
    ran = BalsamJob.objects.filter(state__in=(DONE[-1], FAILED[-1]))
    QuerySet.update(ran, attempt=1)  # which is Balsam's own to write


def _move(keys: list[int], state: str, way: tuple[str, ...]) -> None:
    advance_set(keys, state, [Hop(next_state) for next_state in way], follow_up=False)


if __name__ == "__main__":
    main(int(sys.argv[1]))
