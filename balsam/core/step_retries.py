"""Steps that failed and are made again by rule: how often, and when.

The rules are those of ``balsam.core.backoff``. The job stays in its state for the next try, and the
event of each try that failed tells; so does that of an attempt that could not even be prepared.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from balsam import retries, states
from balsam.core import backoff
from balsam.core.backoff import EXCUSED, LIMIT, Rule
from balsam.core.sql import among, in_json, key_list, quoted, rows
from balsam.outcomes import Outcome

CAUSES = (states.STAGING, states.HOOK)


@dataclass(frozen=True)
class Failure:
    """What was to lead a job on from ``state`` failed at ``time``, in seconds since the epoch."""

    job: int
    state: str
    outcome: Outcome
    time: float

    @property
    def cause(self) -> str:
        """One of ``CAUSES``."""
        return str(self.outcome.data["cause"])

    @property
    def when(self) -> datetime:
        """The time as events have it."""
        return datetime.fromtimestamp(self.time, timezone.utc)


def judged(failures: Sequence[Failure]) -> list[Outcome | None]:
    """What each of them, oldest first, comes to: another try, or the end of its job.

    Without a rule it stays as it is. None: it is in the record already.
    """
    rules = {
        cause: backoff.rules_of({one.job for one in failures if one.cause == cause}, cause)
        for cause in {one.cause for one in failures}
    }
    ruled = {one.job for one in failures if _limit(rules[one.cause].get(one.job))}
    before = _times(ruled)
    found: list[Outcome | None] = []
    for one in failures:
        rule = rules[one.cause].get(one.job)
        if rule is None or not rule.limit:
            found.append(one.outcome)
            continue
        times = before.setdefault((one.job, one.cause), [])
        if one.when in times:
            found.append(None)
            continue
        times.append(one.when)
        number = len(times)
        found.append(_again(one, rule, number) if number <= rule.limit else _given_up(one, rule))
    return found


def _limit(rule: Rule | None) -> int:
    return rule.limit if rule else 0


def _again(one: Failure, rule: Rule, number: int) -> Outcome:
    data: dict[str, Any] = {**one.outcome.data, "retry": number, LIMIT: rule.limit}
    words = f"will be tried again after {rule.cause}: retry {number} of {rule.limit}"
    pause = retries.pause_seconds(rule.backoff_seconds, number, backoff.longest_seconds())
    if pause:
        until = one.when + timedelta(seconds=pause)
        data["not_before"] = until.isoformat()
        words += f", not before {until:%H:%M:%S} UTC"
    return Outcome(one.state, one.outcome.with_words(f"; {words}"), data)


def _given_up(one: Failure, rule: Rule) -> Outcome:
    used = "retry" if rule.limit == 1 else f"{rule.limit} retries"
    words = f"the {used} for {rule.cause} {'is' if rule.limit == 1 else 'are'} used up"
    return Outcome(states.FAILED, one.outcome.with_words(f"; {words}"), one.outcome.data)


def _times(jobs: Collection[int]) -> dict[tuple[int, str], list[datetime]]:
    """When jobs failed for each of ``CAUSES``, since a person last let them go on.

    What was refused by a node that was set aside does not count.
    """
    if not jobs:
        return {}
    cause, nodes = in_json("data", "cause"), in_json("data", "nodes")
    excused, bad = in_json("data", EXCUSED), in_json("data", "node")
    found: dict[tuple[int, str], list[tuple[datetime, list[str]]]] = {}
    for job, when, why, there, given_again, node in rows(
        f"""SELECT job_id, timestamp, {cause}, {nodes}, {excused}, {bad} FROM balsam_event
            WHERE job_id {among()} AND (from_state IN ({quoted(states.END_STATES)})
                OR {cause} IN ({quoted(CAUSES)})) ORDER BY id""",
        (key_list(jobs),),
    ):
        if why in CAUSES:
            # SQLite keeps times in UTC without saying so.
            one = when.replace(tzinfo=timezone.utc), json.loads(there or "[]")
            found.setdefault((job, why), []).append(one)
            continue
        for each in CAUSES:
            before = found.pop((job, each), [])
            if given_again is not None:
                found[job, each] = [one for one in before if node not in one[1]]
    return {key: [when for when, _ in several] for key, several in found.items()}
