"""When a batch job ends: from its environment, or from one question to its scheduler."""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Mapping

from balsam.errors import LaunchError
from balsam.platform import commands

COBALT = "cobalt"
PBS = "pbs"
SLURM = "slurm"
LSF = "lsf"

#: A scheduler that has not answered by then is not waited for.
QUERY_SECONDS = 10.0
#: Times further from now than this are no ends of batch jobs.
_FARTHEST = 400 * 86400.0
_TOLD = {COBALT: "COBALT_ENDTIME", SLURM: "SLURM_JOB_END_TIME"}

logger = logging.getLogger(__name__)


def told(scheduler: str, environ: Mapping[str, str], now: float) -> float | None:
    """The end (epoch seconds) that the environment tells, None where it does not."""
    text = environ.get(_TOLD.get(scheduler, ""), "")
    try:
        return _sane(float(text), now)
    except ValueError:
        return None


def misunderstood(scheduler: str, environ: Mapping[str, str]) -> str:
    """What a person should know of an end that the environment tells, and that is none; or ''."""
    name = _TOLD.get(scheduler, "")
    text = environ.get(name, "")
    if not text:
        return ""
    return (
        f"{name} is '{text}', which is no end of a batch job, and its scheduler tells none: this "
        "launcher goes on until it is ended, if there is no --time-limit."
    )


def asked(scheduler: str, batch_id: str, environ: Mapping[str, str], now: float) -> float | None:
    """The end (epoch seconds) as its scheduler says; None where that gives no answer."""
    argv, extra = _question(scheduler, batch_id)
    try:
        answer = commands.run(argv, QUERY_SECONDS, {**environ, **extra})
    except LaunchError as error:
        logger.info("the end of batch job %s is unknown: %s", batch_id, error)
        return None
    if answer.returncode:
        said = (answer.stderr or answer.stdout).strip()[-200:]
        logger.info("the end of batch job %s is unknown: %s: %s", batch_id, argv[0], said)
        return None
    ends = understood(scheduler, answer.stdout, now)
    return None if ends is None else _sane(ends, now)


def _question(scheduler: str, batch_id: str) -> tuple[list[str], dict[str, str]]:
    if scheduler == SLURM:
        return ["squeue", "-h", "-j", batch_id, "-o", "%L"], {}
    if scheduler == PBS:
        return ["qstat", "-f", batch_id], {}
    if scheduler == LSF:
        return ["bjobs", "-noheader", "-o", "time_left", batch_id], {}
    return ["qstat", batch_id], {"QSTAT_HEADER": "TimeRemaining"}


def understood(scheduler: str, answer: str, now: float) -> float | None:
    """The end that an answer tells; None for one that tells none."""
    if scheduler == PBS:
        return _pbs_end(answer, now)
    lines = [line.strip() for line in answer.splitlines() if line.strip()]
    if not lines:
        return None
    if scheduler == LSF:
        # Hours and minutes, and whether that is by its limit (L) or what is expected (E).
        match = re.fullmatch(r"(\d+):(\d\d)\s*L", lines[0])
        return now + 60 * (60 * int(match[1]) + int(match[2])) if match else None
    left = seconds(lines[-1])
    return None if left is None else now + left


def _pbs_end(answer: str, now: float) -> float | None:
    # Long values go on in lines that begin with a tab.
    fields: dict[str, str] = {}
    for line in answer.replace("\n\t", "").splitlines():
        name, sign, value = line.partition("=")
        if sign:
            fields.setdefault(name.strip(), value.strip())
    remaining = fields.get("Walltime.Remaining", "")
    if remaining.isdecimal():
        return now + int(remaining)
    limit = seconds(fields.get("Resource_List.walltime", ""))
    if limit is None:
        return None
    try:
        began = time.mktime(time.strptime(fields.get("stime", ""), "%a %b %d %H:%M:%S %Y"))
    except (ValueError, OverflowError):
        used = seconds(fields.get("resources_used.walltime", ""))
        return None if used is None else now + limit - used
    return began + limit


def seconds(text: str) -> float | None:
    """A duration such as ``1-02:03:04``, ``02:03:04``, ``03:04`` or ``4``; None for other text."""
    match = re.fullmatch(r"(?:(\d+)-)?((?:\d+:){0,2}\d+)", text.strip())
    if match is None:
        return None
    total = 0
    fields = [int(field) for field in match[2].split(":")]
    if match[1] is not None:
        fields += [0] * (3 - len(fields))
    for field in fields:
        total = 60 * total + field
    return float(total + 86400 * int(match[1] or 0))


def _sane(ends: float, now: float) -> float | None:
    return ends if math.isfinite(ends) and abs(ends - now) < _FARTHEST else None
