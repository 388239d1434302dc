"""How often an attempt or a step that went wrong is made again: limits by cause, from text or data.

A limit counts retries, so 2 allows three attempts that end for this cause. The pause before the
first retry is the back-off; it doubles with each further one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from balsam import states
from balsam.errors import InvalidValue, nearest

#: Causes that a limit can be given for.
CAUSES = (
    states.EXIT,
    states.SIGNAL,
    states.OOM,
    states.JOB_TIME_LIMIT,
    states.BATCH_TIME_LIMIT,
    states.NODE_LOST,
    states.LAUNCHER_LOST,
    states.PROGRAM_MISSING,
    states.MPI_LAUNCH_FAILED,
    states.STAGING,
    states.HOOK,
)
#: Why the others take none.
_NEVER = {
    states.OK: "it is no failure",
    states.KILLED: "what a user killed goes on only when a user says so",
    states.PARENT_FAILED: "such a job goes on together with its parents",
    states.UNSATISFIABLE: "the next try would ask for as much",
}
#: Without a word about them: what these causes get. Others are not tried again by this rule.
DEFAULTS = {states.MPI_LAUNCH_FAILED: {"limit": 2, "backoff_seconds": 2.0}}
LIMIT = "limit"
BACKOFF = "backoff_seconds"
MOST = 1_000_000
LONGEST_SECONDS = 2_000_000.0
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_RULE = re.compile(r"\s*([a-z_]+)\s*=\s*(\d+)\s*(?::\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*))?\s*")
_FORM = "CAUSE=LIMIT or CAUSE=LIMIT:BACKOFF, as in 'oom=2:30s, exit=1'"

Rules = dict[str, dict[str, Any]]


def rules(value: object) -> Rules:
    """Limits from ``'oom=2:30s, exit=1'``, or from a mapping of causes.

    A cause of a mapping has a number of retries or ``{"limit": 2, "backoff_seconds": 30}``.
    Raises InvalidValue.
    """
    if isinstance(value, str):
        return _from_text(value)
    if not isinstance(value, Mapping):
        raise InvalidValue(f"retry is {_FORM}, or a dict of causes, not {value!r}.")
    return {_cause(name): _rule(str(name), rule) for name, rule in value.items()}


def _from_text(text: str) -> Rules:
    if text.lstrip().startswith("{"):
        import json

        try:
            return rules(json.loads(text))
        except ValueError as error:
            raise InvalidValue(f"retry is {_FORM}, or JSON, not '{text}'.") from error
    found: Rules = {}
    for part in re.split(r"[,;]|(?<=[0-9a-z])\s+(?=[a-z_]+\s*=)", text):
        if not part.strip():
            continue
        match = _RULE.fullmatch(part)
        unit = match[4] or "" if match else ""
        if match is None or unit not in _UNITS:
            raise InvalidValue(f"retry is {_FORM}, not '{part.strip()}'.")
        rule: dict[str, Any] = {LIMIT: int(match[2])}
        if match[3]:
            rule[BACKOFF] = float(match[3]) * _UNITS[unit]
        cause = _cause(match[1])
        if cause in found:
            raise InvalidValue(f"retry names the cause '{cause}' twice.")
        found[cause] = _rule(cause, rule)
    return found


def _cause(name: object) -> str:
    if name in CAUSES:
        return str(name)
    if name in states.CAUSES:
        raise InvalidValue(f"retry takes no limit for '{name}': {_NEVER[str(name)]}.")
    raise InvalidValue(
        f"There is no cause '{name}'{nearest(str(name), CAUSES)} (retry knows {', '.join(CAUSES)})."
    )


def _rule(cause: str, rule: object) -> dict[str, Any]:
    if isinstance(rule, int) and not isinstance(rule, bool):
        rule = {LIMIT: rule}
    if not isinstance(rule, Mapping) or LIMIT not in rule:
        raise InvalidValue(f"retry of '{cause}' is a number of retries, or has a {LIMIT}.")
    for name in rule:
        if name not in (LIMIT, BACKOFF):
            hint = nearest(str(name), (LIMIT, BACKOFF))
            raise InvalidValue(f"retry of '{cause}' has no '{name}'{hint}.")
    limit, pause = rule[LIMIT], rule.get(BACKOFF, 0.0)
    if type(limit) is not int or not 0 <= limit <= MOST:
        raise InvalidValue(
            f"The {LIMIT} of '{cause}' is a whole number from 0 to {MOST}, not {limit!r}."
        )
    number = isinstance(pause, (int, float)) and not isinstance(pause, bool)
    if not number or not math.isfinite(pause) or not 0 <= pause <= LONGEST_SECONDS:
        raise InvalidValue(
            f"The {BACKOFF} of '{cause}' are from 0 to {LONGEST_SECONDS:.0f}, not {pause!r}."
        )
    return {LIMIT: limit, **({BACKOFF: float(pause)} if pause else {})}


def spelled(value: Mapping[str, Mapping[str, Any]]) -> str:
    """Limits as text that :func:`rules` reads."""
    parts = []
    for cause, rule in value.items():
        pause = rule.get(BACKOFF, 0)
        parts.append(f"{cause}={rule[LIMIT]}" + (f":{pause:g}s" if pause else ""))
    return ", ".join(parts)


def pause_seconds(backoff_seconds: float, retry: int, most: float) -> float:
    """The pause before the ``retry``-th retry (1 is the first): doubling, up to ``most``."""
    if backoff_seconds <= 0:
        return 0.0
    return min(most, backoff_seconds * 2.0 ** min(retry - 1, 60))
