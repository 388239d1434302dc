"""How far the jobs of a dead session really got: from its journal, and what was never written."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from balsam import states
from balsam.core import backoff
from balsam.core.advance import Move
from balsam.core.backoff import Past, Rule
from balsam.core.events import Hop
from balsam.launcher import rulings
from balsam.launcher.entries import Entry, Start, attempt_before, code_of, hop_of, lost
from balsam.outcomes import Outcome

#: What the record shows of a leased job: its state, attempt, and lost attempts.
Row = tuple[str, int, int]


@dataclass(frozen=True)
class Loss:
    """The ``number``-th loss of a job that was running, its rule for that, and the host where the
    attempt may go on ('' if it can not).
    """

    number: int
    rule: Rule
    host: str = ""


def true_ends(
    session: int,
    held: Mapping[int, Row],
    entries: Mapping[int, Sequence[Entry]],
    crash_limit: int,
    host: str,
) -> list[Move]:
    """The moves of the jobs that a session ``held``, by the ``entries`` of its journal.

    ``host`` is where its attempts may go on, '' where none can.
    """
    told = rulings.told([entry for several in entries.values() for entry in several], crash_limit)
    past = backoff.past_losses(held, states.LAUNCHER_LOST, crash_limit)
    first = Past(backoff.either_loss(states.LAUNCHER_LOST, crash_limit))
    moves = []
    for job, row in held.items():
        known = rulings.without_program(rulings.as_told(entries.get(job, ()), told))
        rule, before = past.get(job, first)
        loss = Loss(before + 1, rule, host)
        moves.append(true_end(session, job, row, known, loss))
    return [move for move in moves if move]


def true_end(
    session: int,
    job: int,
    row: Row,
    entries: Sequence[Entry],
    loss: Loss,
) -> Move | None:
    """From where the record shows a job to where the journal says it got; None if nowhere.

    An attempt without an outcome is lost: it is run again, or fails at the crash limit.
    """
    state, attempt, _ = row
    here, now = state, attempt
    lost_attempts = 0
    hops: list[Hop] = []
    code = None
    for entry in entries:
        if here != entry.old_state or now != attempt_before(entry):
            continue
        hops.append(hop_of(entry))
        lost_attempts += lost(entry)
        if isinstance(entry, Start):
            here, now = states.RUNNING, entry.attempt
        else:
            here, found = entry.outcome.state, code_of(entry)
            code = code if found is None else found
    if here == states.RUNNING:
        hops.append(_lost(now, loss))
        lost_attempts += 1
    if not hops:
        return None
    return Move(
        job=job,
        old_state=state,
        hops=hops,
        attempt=attempt,
        next_attempt=now,
        session=session,
        lost_attempts=lost_attempts,
        return_code=code,
    )


def _lost(attempt: int, loss: Loss) -> Hop:
    data: dict[str, Any] = {"cause": states.LAUNCHER_LOST, "attempt": attempt}
    words = f"Attempt {attempt} was lost with its launcher: will be run again"
    if loss.host:
        data["host"] = loss.host
        words += f"; it may go on running on {loss.host} until its launcher there notices"
    again = Outcome(states.RESTART_READY, words, data)
    outcome = backoff.after_loss(again, loss.rule, loss.number, time.time())
    return Hop(outcome.state, outcome.message, outcome.data)
