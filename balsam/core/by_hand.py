"""Moves that people and scripts ask for; a script may run what it has leased itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from balsam import states
from balsam.core import advance
from balsam.core.advance import Move
from balsam.core.events import Hop
from balsam.core.values import LARGEST


class Now(NamedTuple):
    """How a job's row is at the moment, read in the transaction that moves it."""

    job: int
    state: str
    session: int | None
    attempt: int


def move(
    jobs: Iterable[Now],
    new_state: str,
    message: str = "",
    data: Mapping[str, Any] | None = None,
    session: int | None = None,
) -> set[int]:
    """Move jobs as a user may, and those that ``session`` holds as Balsam may; the ids that moved.

    Killed jobs stay so. Raises IllegalMove, in a transaction of the caller's.
    """
    data = data or {}
    by_state: dict[str, list[int]] = {}
    mine: list[Move] = []
    for now in jobs:
        if now.state in (new_state, states.USER_KILLED):
            continue
        if new_state == states.USER_KILLED and now.state in states.END_STATES:
            continue
        if session is not None and now.session == session and _is_mine_to_make(now, new_state):
            mine.append(_own_move(now, new_state, message, data))
        else:
            by_state.setdefault(now.state, []).append(now.job)
    moved: set[int] = set()
    for state, members in by_state.items():
        hops = [Hop(new_state, message, data)]
        moved |= advance.advance_set(members, state, hops, states.USER, follow_up=False)
    # Not before all have moved: the end of the first would reach its children among the others.
    advance.follow(dict.fromkeys(moved, new_state))
    return moved | (advance.advance(mine) if mine else set())


def _is_mine_to_make(now: Now, new_state: str) -> bool:
    return states.is_legal(now.state, new_state) and not states.is_legal(
        now.state, new_state, states.USER
    )


def _own_move(now: Now, new_state: str, message: str, data: Mapping[str, Any]) -> Move:
    """An attempt is counted when it begins, and named in the event that begins or ends it."""
    attempt = now.attempt + 1 if new_state == states.RUNNING else now.attempt
    if states.RUNNING in (new_state, now.state):
        data = {"attempt": attempt, **data}
    return Move(
        job=now.job,
        old_state=now.state,
        hops=[Hop(new_state, message, data)],
        attempt=now.attempt,
        next_attempt=attempt,
        session=now.session,
        keep_lease=True,
        return_code=_return_code(data),
    )


def _return_code(data: Mapping[str, Any]) -> int | None:
    code = data.get("returncode")
    if not isinstance(code, int) or isinstance(code, bool) or abs(code) > LARGEST:
        return None
    return code
