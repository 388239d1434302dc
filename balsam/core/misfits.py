"""Runnable jobs that ask for more than an allocation can ever give."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields

from balsam import states
from balsam.core import advance, lease
from balsam.core.events import Hop
from balsam.core.lease import Scope
from balsam.core.record import joined
from balsam.core.sql import among, is_sqlite, key_list, quoted, rows

_RUNNABLE = quoted(states.RUNNABLE_STATES)


@dataclass(frozen=True)
class Shape:
    """What a free runnable job asks for; ``gpus_per_rank`` may be a fraction."""

    id: int
    state: str
    attempt: int
    num_nodes: int
    ranks_per_node: int
    gpus_per_rank: float


@dataclass(frozen=True)
class Limits:
    """The most an allocation gives: nodes, and ranks and GPUs of each (0 ranks: no limit)."""

    nodes: int
    ranks: int
    gpus: int


def beyond(
    limits: Limits, ids: Collection[int], scope: Scope, *, serial_only: bool = False
) -> list[Shape]:
    """Those of ``ids``, as far as they are in scope, free and runnable, that ask for more.

    One that asks for a rounding error more may be among them.
    """
    where, parameters = scope.sql()
    if serial_only:
        where += f" AND {lease.ONE_RANK}"
    # By their keys: of its own choice SQLite would go through all that is runnable.
    by_key = "NOT INDEXED" if is_sqlite() else ""
    found = rows(
        f"""SELECT {", ".join(field.name for field in fields(Shape))} FROM balsam_job {by_key}
            WHERE id {among()} AND state IN ({_RUNNABLE}) AND session_id IS NULL AND {where}
            AND (num_nodes > %s OR (%s > 0 AND ranks_per_node > %s)
                 OR ranks_per_node * gpus_per_rank > %s) ORDER BY id""",
        (key_list(ids), *parameters, limits.nodes, limits.ranks, limits.ranks, limits.gpus),
    )
    return [Shape(*row) for row in found]


def fail(reasons: Mapping[Shape, str]) -> set[int]:
    """Fail jobs that are still free, and what waits for them; children that go on all the same."""
    hops = {
        job.id: (
            job.state,
            Hop(states.FAILED, words, {"cause": states.UNSATISFIABLE, "attempt": job.attempt}),
        )
        for job, words in reasons.items()
    }
    released: set[int] = set()
    with joined():
        failed = advance.advance_each(hops)
        advance.follow(dict.fromkeys(failed, states.FAILED), released)
    return released
