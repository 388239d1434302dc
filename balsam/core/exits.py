"""The exit code that stands for a job, and why a job has no output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from balsam import states

if TYPE_CHECKING:
    from balsam.core.models import BalsamJob

#: Causes that are the program's own way to end: it ran, and its return code means something.
_OWN = (
    states.EXIT,
    states.SIGNAL,
    states.OOM,
    states.JOB_TIME_LIMIT,
    states.BATCH_TIME_LIMIT,
    states.KILLED,
)
#: An event with a cause is among the last few of a job.
_LOOK_BACK = 8


@dataclass(frozen=True)
class Verdict:
    """An exit code, and a sentence where the code alone says too little."""

    code: int
    sentence: str = ""


def verdict(job: BalsamJob) -> Verdict:
    """What a job that has ended came to, in the manner of a shell: 0, its own code, or 1."""
    if job.state == states.JOB_FINISHED:
        return Verdict(0)
    cause, message, data = _last_cause(job)
    words = message.split("\n", 1)[0].strip().rstrip(".")
    code = data.get("returncode")
    label = f"Job {job.pk} {job.cute_id}"
    if job.state == states.USER_KILLED:
        return Verdict(code if isinstance(code, int) and code else 1, f"{label} was killed.")
    if cause in _OWN and isinstance(code, int) and code:
        return Verdict(code, "" if cause == states.EXIT else f"{label}: {words}.")
    return Verdict(1, f"{label} failed: {words}." if words else f"{label} failed.")


def without_output(job: BalsamJob) -> str:
    """Why a job has no output: it is gone, or the job's state and what its history says last."""
    if _has_run(job):
        return "has no output any more: its file is not there"
    words = job.get_recent_state_str().partition("] ")[2].split("\n", 1)[0].strip().rstrip(".")
    if not words:
        waits = job.state == states.AWAITING_PARENTS
        words = "it waits for its parents" if waits else "no launcher has run it yet"
    return f"has no output yet: it is {job.state} ({words})"


def _has_run(job: BalsamJob) -> bool:
    """Whether a program ran in the latest attempt, and has ended."""
    ends = {"data__attempt": job.attempt, "data__cause__in": (states.OK, *_OWN)}
    return job.state != states.RUNNING and job.events.filter(**ends).exists()


def _last_cause(job: BalsamJob) -> tuple[str, str, dict[str, Any]]:
    newest = ""
    for message, data in job.events.order_by("-id").values_list("message", "data")[:_LOOK_BACK]:
        newest = newest or message
        if data.get("cause") == states.OK:
            break  # what came of it then was decided by a script, or a person
        if "cause" in data:
            return str(data["cause"]), message, data
    return "", newest, {}
