"""Attempts that are made again by rule: which, how often, and when.

A rule is a limit with a back-off for one cause (see ``balsam.retries``): the job's own, else its
application's, else that of the settings. Jobs that a rule has nothing to say about are left alone.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

from django.db import connection

from balsam import retries, states
from balsam.conf.settings import Jobs
from balsam.core import advance, history, place
from balsam.core.events import Hop
from balsam.core.sql import among, dialect, in_json, key_list, quoted, rows
from balsam.outcomes import Outcome

#: What an attempt leaves behind that may be made again.
STATES = (states.RUN_ERROR, states.RUN_TIMEOUT)
NONE_LEFT = "No attempt is left of those that max_attempts allows"
#: In the data of an event: the attempt that was no fault of its job; 0 if none could even begin.
EXCUSED = "excused"
#: In the data of an event: the limit that ended the job, or would.
LIMIT = "limit"
_LOSSES = (states.NODE_LOST, states.LAUNCHER_LOST)
#: A person leads a job out of these, or an excuse.
_ENDS = quoted(states.END_STATES)


@dataclass(frozen=True)
class Rule:
    """So many retries for this cause, with this pause before the first."""

    cause: str
    limit: int
    backoff_seconds: float = 0.0
    #: For people: what set the limit, if not a rule of ``retry``.
    setting: str = ""


@dataclass(frozen=True)
class Ended:
    """A free job whose attempt has ended, for ``cause``, and whose script does not handle that."""

    job: int
    rule: Rule
    attempt: int
    attempts_left: bool


def make_again(
    state: str, ids: Collection[int], max_attempts: int, released: set[int] | None = None
) -> dict[int, str]:
    """Move those of ``ids``, all in ``state``, that a rule is for: id -> the state it is in then.

    They go on as RESTART_READY, each not before its back-off is over, or fail for good. Their
    children follow; those that became READY are added to ``released``.
    """
    ended = _ended(state, ids, max_attempts)
    if not ended:
        return {}
    failures = _failures([one.job for one in ended])
    most = longest_seconds()
    now = history.now()
    hops: dict[int, tuple[str, Hop]] = {}
    pauses: dict[float, list[int]] = {}
    for one in ended:
        # An attempt whose event was removed has ended all the same.
        number = max(1, failures.get(one.job, {}).get(one.rule.cause, 0))
        if number > one.rule.limit or not one.attempts_left:
            hops[one.job] = (state, _given_up(one, number))
            continue
        pause = retries.pause_seconds(one.rule.backoff_seconds, number, most)
        hops[one.job] = (state, _again(one.rule, number, now, pause))
        pauses.setdefault(pause, []).append(one.job)
    moved = advance.advance_each(hops)
    for pause, jobs in pauses.items():
        if pause:
            hold(moved.intersection(jobs), now + timedelta(seconds=pause))
    ends = {job: hops[job][1].state for job in moved}
    advance.follow(ends, released)
    return ends


def hold(jobs: Collection[int], until: datetime) -> None:
    """Let no launcher take these jobs before that time (UTC)."""
    if jobs:
        with connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE balsam_job SET not_before = %s WHERE id {among()}",
                (dialect().time(until), key_list(jobs)),
            )


def _again(rule: Rule, number: int, now: datetime, pause: float) -> Hop:
    data: dict[str, Any] = {"after": rule.cause, "retry": number, LIMIT: rule.limit}
    words = f"Will be run again after {rule.cause}: attempt {number + 1} of {rule.limit + 1}"
    if pause:
        until = now + timedelta(seconds=pause)
        data["not_before"] = until.isoformat()
        words += f", not before {until:%H:%M:%S} UTC"
    return Hop(states.RESTART_READY, words, data)


def _given_up(one: Ended, number: int) -> Hop:
    rule = one.rule
    if number <= rule.limit:
        return Hop(states.FAILED, f"{NONE_LEFT} ({rule.cause})", {"after": rule.cause, LIMIT: 0})
    again = "once" if rule.limit == 1 else f"{rule.limit} times"
    allowed = f"may be tried again {again}" if rule.limit else "is not tried again"
    words = f"Attempt {number} of {rule.limit + 1} ended with {rule.cause}, which {allowed}"
    return Hop(states.FAILED, words, {"after": rule.cause, LIMIT: rule.limit})


# -- the rules ----------------------------------------------------------------------------------


def _policy() -> Jobs:
    return place.current_project().settings().jobs


def longest_seconds() -> float:
    """The longest pause before a retry."""
    return _policy().max_backoff_seconds


def _settings_rules() -> retries.Rules:
    return {**retries.DEFAULTS, **retries.rules(_policy().retry)}


def rule_for(cause: str, *given: Mapping[str, Mapping[str, Any]]) -> Rule | None:
    """The first of the ``given`` rules that says something about ``cause``."""
    for one in given:
        if cause in one:
            found = one[cause]
            return Rule(cause, int(found["limit"]), float(found.get("backoff_seconds", 0.0)))
    return None


def _loaded(value: Any) -> dict[str, Any]:
    found = json.loads(value) if isinstance(value, str) else value
    return found if isinstance(found, dict) else {}


def _ended(state: str, ids: Collection[int], max_attempts: int) -> list[Ended]:
    """Those of ``ids`` that a rule is for."""
    from balsam.core.bookkeeping import ATTEMPTS_LEFT, HANDLES_ERROR, HANDLES_TIMEOUT

    handled = HANDLES_ERROR
    wanted = ""
    if state == states.RUN_TIMEOUT:
        handled, wanted = HANDLES_TIMEOUT, "AND job.auto_timeout_retry"
    cause = in_json("data", "cause")
    found = rows(
        f"""SELECT job.id, job.attempt, job.retry, app.retry,
            {ATTEMPTS_LEFT.format(default=int(max_attempts))},
            (SELECT {cause} FROM balsam_event event WHERE event.job_id = job.id
             AND event.to_state = '{state}' AND event.from_state <> event.to_state
             ORDER BY event.id DESC LIMIT 1)
            FROM balsam_job job LEFT JOIN balsam_app app ON app.id = job.app_id
            WHERE job.id {among()} AND NOT {handled} {wanted}""",
        (key_list(ids),),
    )
    if not any(cause for *_, cause in found):
        return []
    settings = _settings_rules()
    ended = []
    for job, attempt, own, app, left, cause in found:
        rule = rule_for(cause, _loaded(own), _loaded(app), settings) if cause else None
        # A limit of 0 is what errors have without a rule, and what a timeout has with it.
        if rule and (rule.limit or state == states.RUN_TIMEOUT):
            ended.append(Ended(job, rule, attempt, bool(left)))
    return ended


def _failures(jobs: Collection[int]) -> dict[int, dict[str, int]]:
    """How often attempts ended for each cause, since a person last let the job go on."""
    given_again = in_json("data", EXCUSED)
    found: dict[int, dict[str, set[str]]] = {}
    for job, event, old, cause, attempt, excused in rows(
        f"""SELECT job_id, id, from_state, {in_json("data", "cause")},
            {in_json("data", "attempt")}, {given_again} FROM balsam_event
            WHERE job_id {among()} AND (from_state IN ('{states.RUNNING}', {_ENDS})
                OR {given_again} IS NOT NULL) ORDER BY id""",
        (key_list(jobs),),
    ):
        causes = found.setdefault(job, {})
        if excused is not None:
            for ended in causes.values():
                ended.discard(str(excused))
        elif old in states.END_STATES:
            causes.clear()
        elif cause:
            causes.setdefault(cause, set()).add(str(attempt) if attempt else f"event {event}")
    return {
        job: {cause: len(ended) for cause, ended in causes.items()} for job, causes in found.items()
    }


# -- attempts lost with a node or a launcher ----------------------------------------------------


class Past(NamedTuple):
    """By which rule a job may be run again after a loss, and how many counted by it before."""

    rule: Rule
    losses: int = 0


def either_loss(cause: str, crash_limit: int) -> Rule:
    """What holds for losses where no rule does."""
    return Rule(cause, crash_limit - 1, setting="crash_limit")


def past_losses(jobs: Collection[int], cause: str, crash_limit: int) -> dict[int, Past]:
    """What counts for the next loss of each of ``jobs`` that is there.

    ``cause`` is node_lost or launcher_lost. A rule for it counts its like; without one, up to
    ``crash_limit - 1`` losses of either kind are allowed.
    """
    either = either_loss(cause, crash_limit)
    before = losses(jobs)
    found = {}
    for job, rule in rules_of(jobs, cause).items():
        causes = before.get(job, {})
        number = causes.get(cause, 0) if rule else sum(causes.values())
        found[job] = Past(rule or either, number)
    return found


def rules_of(jobs: Collection[int], cause: str) -> dict[int, Rule | None]:
    """What the rules say for each of ``jobs`` that is there, if they say something."""
    settings = _settings_rules() if jobs else {}
    return {
        job: rule_for(cause, _loaded(own), _loaded(app), settings)
        for job, own, app in rows(
            f"""SELECT job.id, job.retry, app.retry FROM balsam_job job
                LEFT JOIN balsam_app app ON app.id = job.app_id WHERE job.id {among()}""",
            (key_list(jobs),),
        )
    }


def after_loss(outcome: Outcome, rule: Rule, number: int, when: float) -> Outcome:
    """An attempt's loss with what follows from its being the ``number``-th: again, or for good.

    ``when`` is the time of the loss, in seconds since the epoch.
    """
    what = {states.NODE_LOST: "node", states.LAUNCHER_LOST: "launcher"}[rule.cause]
    if number > rule.limit:
        limit = rule.setting or f"retry: {rule.cause}={rule.limit}"
        words = f"Its {what} was lost {number} times while it ran ({limit})"
        return Outcome(states.FAILED, words, outcome.data)
    if not rule.backoff_seconds:
        return outcome
    pause = retries.pause_seconds(rule.backoff_seconds, number, longest_seconds())
    until = datetime.fromtimestamp(when, timezone.utc) + timedelta(seconds=pause)
    words = outcome.with_words(f", not before {until:%H:%M:%S} UTC")
    return Outcome(outcome.state, words, {**outcome.data, "not_before": until.isoformat()})


def losses(jobs: Collection[int]) -> dict[int, dict[str, int]]:
    """How often jobs were running when their launcher or node was lost: id -> cause -> number.

    Counted since a person last let the job go on.
    """
    cause, excused = in_json("data", "cause"), in_json("data", EXCUSED)
    found: dict[int, dict[str, int]] = {}
    for job, old, why in rows(
        f"""SELECT job_id, from_state, {cause} FROM balsam_event
            WHERE job_id {among()} AND {excused} IS NULL
                AND (from_state IN ({_ENDS}) OR {cause} IN ({quoted(_LOSSES)}))
            ORDER BY id""",
        (key_list(jobs),),
    ):
        if old in states.END_STATES:
            found.pop(job, None)
        else:
            causes = found.setdefault(job, {})
            causes[why] = causes.get(why, 0) + 1
    return found
