"""Run in a project: large graphs and what the end of their parents costs, printed: REPEAT."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from balsam import states
from balsam.core import bookkeeping, graph, insert, lease, sessions
from balsam.core.advance import Move, advance
from balsam.core.events import Hop
from balsam.core.lease import Scope
from balsam.core.models import BalsamJob
from balsam.core.record import atomic
from tests.benchmarks.stopwatch import Stopwatch

MOST_ATTEMPTS = 10
FAN_IN = 10_000
#: A hundred thousand edges.
PARENTS, CHILDREN, EACH = 1_000, 10_000, 10
COMMITTED = 500


def main(repeat: int) -> None:
    """Insert, release and delete."""
    watch = Stopwatch()
    session = sessions.open_session(sessions.Life("launcher", "bench", "bench", 1, 1))
    for index in range(repeat):
        _fan_in(watch, session, f"fan-{index}")
        _layers(watch, session, f"layers-{index}")
    sessions.close_session(session)
    watch.tell()


def _fan_in(watch: Stopwatch, session: int, workflow: str) -> None:
    parents = _parents(workflow, FAN_IN)
    with watch(f"insert a child of {FAN_IN:,} parents"):
        child = BalsamJob.objects.create(workflow=workflow, parents=parents, input_files="")
    bookkeeping.pass_jobs([*parents, child.pk], MOST_ATTEMPTS)
    running = _started(session, workflow, FAN_IN)
    with watch(f"fan-in: {FAN_IN:,} parents finish, {COMMITTED} in a commit, all of them"):
        for start in range(0, FAN_IN, COMMITTED):
            with watch(f"fan-in: {COMMITTED} of {FAN_IN:,} parents finish, one commit"):
                _finish(session, running[start : start + COMMITTED])
    child.refresh_from_db()
    if child.state != states.PREPROCESSED:
        raise RuntimeError(f"the child is {child.state}")
    _delete(watch, workflow)


def _layers(watch: Stopwatch, session: int, workflow: str) -> None:
    parents = _parents(workflow, PARENTS)
    edges = f"{CHILDREN * EACH:,} edges"
    with watch(f"insert {CHILDREN:,} children with {edges}"):
        insert.stream(BalsamJob, _children(workflow, parents))
    children = _keys(workflow)[PARENTS:]
    with watch(f"{CHILDREN:,} children with {edges} begin to wait"):
        bookkeeping.pass_jobs(children, MOST_ATTEMPTS)
    bookkeeping.pass_jobs(parents, MOST_ATTEMPTS)
    running = _started(session, workflow, PARENTS)
    with watch(f"{PARENTS:,} parents finish, {CHILDREN:,} children with {edges} become runnable"):
        _finish(session, running)
    ready = BalsamJob.objects.filter(workflow=workflow, state=states.PREPROCESSED).count()
    if ready != CHILDREN:
        raise RuntimeError(f"{ready} of {CHILDREN} children are runnable")
    with watch(f"all {CHILDREN:,} jobs below one of the layer"):
        graph.descendants(parents)
    _delete(watch, workflow)


def _parents(workflow: str, number: int) -> list[int]:
    insert.stream(
        BalsamJob,
        ({"name": f"p{index}", "workflow": workflow, "input_files": ""} for index in range(number)),
    )
    return _keys(workflow)


def _children(workflow: str, parents: Sequence[int]) -> Iterator[dict[str, Any]]:
    for index in range(CHILDREN):
        first = index * EACH
        above = [parents[(first + offset) % PARENTS] for offset in range(EACH)]
        yield {"name": f"c{index}", "workflow": workflow, "parents": above, "input_files": ""}


def _keys(workflow: str) -> list[int]:
    jobs = BalsamJob.objects.filter(workflow=workflow).order_by("id")
    return list(jobs.values_list("id", flat=True))


def _started(session: int, workflow: str, number: int) -> list[int]:
    rows = lease.lease_runnable(session, Scope(workflow), number)
    keys = [row[0] for row in rows]
    advance(
        Move(job, states.PREPROCESSED, [Hop(states.RUNNING)], 0, session, True, 1) for job in keys
    )
    return keys


def _finish(session: int, running: Sequence[int]) -> None:
    with atomic():
        ended = advance(
            Move(job, states.RUNNING, [Hop(states.RUN_DONE, "", {"cause": states.OK})], 1, session)
            for job in running
        )
        bookkeeping.pass_jobs(ended, MOST_ATTEMPTS)


def _delete(watch: Stopwatch, workflow: str) -> None:
    with watch(f"delete the {PARENTS + CHILDREN:,} jobs or so of such a graph"):
        BalsamJob.objects.filter(workflow=workflow).delete()


if __name__ == "__main__":
    main(int(sys.argv[1]))
