"""What becomes of lost attempts, and of missing programs, by the rules of their jobs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from balsam import states
from balsam.core import backoff, step_retries
from balsam.core.advance import Move
from balsam.core.step_retries import Failure
from balsam.launcher.entries import End, Entry, Start, StepEnd
from balsam.outcomes import Outcome


def node_lost(
    job: int, attempt: int, node: str, why: str, data: Mapping[str, Any], when: float
) -> End:
    """The end of an attempt whose node was lost (``why``: a clause), not counted against the job.

    ``data`` is what else its event keeps. Whether the job is run again is decided when it is
    committed (:func:`losses`).
    """
    outcome = Outcome(
        states.RESTART_READY,
        f"Attempt {attempt} was lost with its node {node} ({why}): will be run again",
        {**data, "cause": states.NODE_LOST, "attempt": attempt, "lost_node": node},
    )
    return End(job, states.RUNNING, attempt, outcome, when)


def told(entries: Sequence[Entry], crash_limit: int) -> dict[int, End | StepEnd | None]:
    """What rules for retries make of some entries: ``id`` of the entry -> what to commit instead.

    None is for what is in the record already.
    """
    return {**losses(entries, crash_limit), **failures(entries)}


def as_told(entries: Iterable[Entry], by_rule: Mapping[int, End | StepEnd | None]) -> list[Entry]:
    """``entries`` with what :func:`told` says of them."""
    known = (by_rule.get(id(entry), entry) for entry in entries)
    return [entry for entry in known if entry]


def failures(entries: Iterable[Entry]) -> dict[int, End | StepEnd | None]:
    """What becomes of steps that failed, and of attempts that could not be prepared."""
    failed = [
        entry
        for entry in entries
        if not isinstance(entry, Start)
        and entry.outcome.state == states.FAILED
        and entry.outcome.data.get("cause") in step_retries.CAUSES
        and not (isinstance(entry, StepEnd) and entry.final)
    ]
    if not failed:
        return {}
    outcomes = step_retries.judged(
        [Failure(entry.job, entry.old_state, entry.outcome, entry.time) for entry in failed]
    )
    return {
        id(entry): replace(entry, outcome=outcome) if outcome else None
        for entry, outcome in zip(failed, outcomes, strict=True)
    }


def losses(entries: Iterable[Entry], crash_limit: int) -> dict[int, End]:
    """What becomes of attempts lost with a node: ``id`` of the entry -> the end to commit.

    At the crash limit, or that of the job's own rule for node_lost, the job fails.
    """
    ends = [
        entry
        for entry in entries
        if isinstance(entry, End)
        and entry.outcome.data.get("cause") == states.NODE_LOST
        and entry.outcome.state == states.RESTART_READY
        and backoff.EXCUSED not in entry.outcome.data
    ]
    if not ends:
        return {}
    jobs = [end.job for end in ends]
    past = backoff.past_losses(jobs, states.NODE_LOST, crash_limit)
    found = {}
    for end in ends:
        if end.job in past:
            rule, before = past[end.job]
            outcome = backoff.after_loss(end.outcome, rule, before + 1, end.time)
            found[id(end)] = replace(end, outcome=outcome)
    return found


def without_program(entries: list[Entry]) -> list[Entry]:
    """``entries``, where a program that was missing is a failed attempt for jobs with a rule.

    Otherwise such jobs fail for good, without an attempt if none could begin.
    """
    ends = {
        entry.job: entry
        for entry in entries
        if isinstance(entry, End)
        and entry.outcome.state == states.FAILED
        and entry.outcome.data.get("cause") == states.PROGRAM_MISSING
    }
    if not ends:
        return entries
    rules = backoff.rules_of(ends, states.PROGRAM_MISSING)
    found: list[Entry] = []
    for entry in entries:
        rule = rules.get(entry.job) if entry is ends.get(entry.job) else None
        if rule is None or not rule.limit or not isinstance(entry, End):
            found.append(entry)
            continue
        attempt = entry.attempt
        if entry.old_state != states.RUNNING:
            found.append(Start(entry.job, entry.old_state, attempt, 0, entry.time))
            attempt += 1
        data = {**entry.outcome.data, "attempt": attempt}
        outcome = Outcome(states.RUN_ERROR, entry.outcome.message, data)
        found.append(End(entry.job, states.RUNNING, attempt, outcome, entry.time))
    return found


def hold_back(moves: Iterable[Move]) -> None:
    """Let jobs wait for the back-off that their moves speak of."""
    for move in moves:
        until = move.last.data.get("not_before")
        if isinstance(until, str):
            backoff.hold([move.job], datetime.fromisoformat(until))
