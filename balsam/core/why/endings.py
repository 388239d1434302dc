"""How attempts and jobs began and ended, in words, from the events of a job."""

from __future__ import annotations

from typing import Any

from balsam import states
from balsam.core.why.situation import span

#: Lines of output that a text repeats.
TAIL_LINES = 8


def start(job: Any) -> Any:
    """The event that began the job's latest attempt, or None."""
    return job.events.filter(to_state=states.RUNNING).order_by("-id").first()


def latest(job: Any) -> Any:
    """The latest event of the job, or None."""
    return job.events.order_by("-id").first()


def end(job: Any) -> Any:
    """The latest event that says why an attempt (or the job itself) ended, or None.

    Of a run that ended well there is none: a script, or a person, decided what came of the job.
    """
    event = job.events.filter(data__has_key="cause").order_by("-id").first()
    return None if event is None or event.data["cause"] == states.OK else event


def finished(job: Any, when: str) -> str:
    """When a job finished, after how many attempts, and how long the last took."""
    words = f"It finished {when}"
    if not job.attempt:
        return f"{words}, without being run."
    attempts = "1 attempt" if job.attempt == 1 else f"{job.attempt} attempts"
    ended = job.events.filter(data__has_key="wall_seconds").order_by("-id").first()
    seconds = ended.data["wall_seconds"] if ended else None
    if not isinstance(seconds, (int, float)):
        return f"{words}, after {attempts}."
    last = "the last of " if job.attempt > 1 else ""
    return f"{words}, after {attempts}, {last}which took {_took(seconds)}{_used(ended.data)}."


def killed(job: Any, when: str) -> str:
    """When and with what words a job was killed."""
    event = job.events.filter(to_state=states.USER_KILLED).order_by("id").first()
    message = f": {_line(event.message)}" if event and event.message else ""
    return f"It was killed {when}{message}."


def failed(job: Any, when: str, first: str = "") -> str:
    """Why a job failed, and what is to be done first; the end of the output follows below."""
    ended, last = end(job), latest(job)
    event = ended or last
    if event is None:
        return f"It failed {when}; nothing says why."
    data = event.data if ended else {}
    told = [f"cause {data['cause']}"] if "cause" in data else []
    if isinstance(data.get("returncode"), int) and str(data["returncode"]) not in event.message:
        told.append(f"return code {data['returncode']}")
    words = "; ".join([f"It failed {when}", *told])
    words += f": {_line(event.message) or 'nothing more is known'}."
    if last.pk != event.pk and last.to_state == states.FAILED and last.message:
        words += f" {_line(last.message)}."
    words = f"{words} {first}" if first else words
    tail = str(data.get("tail") or event.message.partition("\n")[2]).rstrip()
    if not tail:
        return words
    lines = tail.splitlines()[-TAIL_LINES:]
    return "\n".join([f"{words} The output{_shown(job, data.get('cause'))} ended with:", *lines])


def _shown(job: Any, cause: str | None) -> str:
    """The command that shows all of an output, if there is one."""
    if cause == states.HOOK:
        return f" ('balsam logs {job.pk} --hooks' shows all of it)"
    return f" ('balsam logs {job.pk}' shows all of it)" if job.attempt else ""


def summary(job: Any) -> str:
    """The cause and first line of why a job failed."""
    event = end(job) or latest(job)
    if event is None:
        return ""
    cause = event.data.get("cause", "")
    return f"{cause}: {_line(event.message)}" if cause else _line(event.message)


def _line(message: str) -> str:
    """The first line of a message, without a full stop."""
    first = message.strip().partition("\n")[0]
    return first.rstrip().removesuffix(".")


def _used(data: dict[str, Any]) -> str:
    """What else an attempt used: `` (3.9 s of CPU, 46 MB of memory, read 2 kB)``."""
    parts = []
    if isinstance(data.get("cpu_seconds"), (int, float)):
        parts.append(f"{_took(data['cpu_seconds'])} of CPU")
    if data.get("max_rss_kb"):
        parts.append(f"{size(1024 * data['max_rss_kb'])} of memory")
    for name, word in (("read_bytes", "read"), ("write_bytes", "wrote")):
        if data.get(name):
            parts.append(f"{word} {size(data[name])}")
    return f" ({', '.join(parts)})" if parts else ""


def size(number: float) -> str:
    """Bytes in the unit that suits them: ``46 MB``, in steps of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 999.5:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"


def _took(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 10 else span(seconds)
