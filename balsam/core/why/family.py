"""The relatives that a job waits for or failed with, up to those at the root of it."""

from __future__ import annotations

from typing import NamedTuple

from balsam import states
from balsam.core.rules import FAIL, IGNORE
from balsam.core.sql import quoted, rows

#: No workflow is deeper than that.
DEEPEST = 100_000
_BROKEN = quoted(states.BROKEN_STATES)
_WAITING = quoted(states.WAITING_STATES)


class Waits(NamedTuple):
    """How many parents a job has, how many keep it waiting, the first of those, and the root.

    The root is the last on the way up through first unfinished parents: it waits for none.
    """

    parents: int
    unfinished: int
    first: int
    root: int


def waits_for(child: int) -> Waits | None:
    """Whom a job waits for; None if for nobody (any more)."""
    parents = rows(
        f"""SELECT edge.parent_id, {_unfinished("child")} FROM balsam_dependency edge
            JOIN balsam_job parent ON parent.id = edge.parent_id
            JOIN balsam_job child ON child.id = edge.child_id
            WHERE edge.child_id = %s ORDER BY edge.id""",
        (child,),
    )
    waiting = [key for key, unfinished in parents if unfinished]
    if not waiting:
        return None
    return Waits(len(parents), len(waiting), waiting[0], _root(waiting[0]))


def _root(key: int) -> int:
    found = rows(
        f"""WITH RECURSIVE up (id, depth) AS (
                SELECT CAST(%s AS bigint), 0
                UNION ALL SELECT (
                    SELECT edge.parent_id FROM balsam_dependency edge
                    JOIN balsam_job parent ON parent.id = edge.parent_id
                    JOIN balsam_job child ON child.id = edge.child_id
                    WHERE edge.child_id = up.id AND child.wait_for_parents
                    AND child.state IN ({_WAITING}) AND {_unfinished("child")}
                    ORDER BY edge.id LIMIT 1), up.depth + 1
                FROM up WHERE up.id IS NOT NULL AND up.depth < {DEEPEST})
            SELECT id FROM up WHERE id IS NOT NULL ORDER BY depth DESC LIMIT 1""",
        (key,),
    )
    return int(found[0][0])


def _unfinished(child: str) -> str:
    return (
        f"(parent.state <> '{states.JOB_FINISHED}' AND NOT "
        f"({child}.on_parent_failure = '{IGNORE}' AND parent.state IN ({_BROKEN})))"
    )


def broken_line(child: int, longest: int = 1000) -> list[int]:
    """The first parent that failed or was killed, its own first such parent, and so on up."""
    line: list[int] = []
    here = child
    while len(line) < longest:
        found = rows(
            f"""SELECT parent.id FROM balsam_dependency edge
                JOIN balsam_job parent ON parent.id = edge.parent_id
                JOIN balsam_job child ON child.id = edge.child_id
                WHERE edge.child_id = %s AND parent.state IN ({_BROKEN})
                AND child.attempt = 0 AND child.wait_for_parents
                AND child.on_parent_failure = '{FAIL}' ORDER BY edge.id LIMIT 1""",
            (here,),
        )
        if not found:
            break
        here = int(found[0][0])
        line.append(here)
    return line
