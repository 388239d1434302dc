"""Why a job is where it is: the one condition that holds it, in words, and what would clear it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from balsam import states
from balsam.core.models import BalsamJob
from balsam.core.why import conditions, endings, family, holdups
from balsam.core.why.again import again
from balsam.core.why.cases import Case, called, retry
from balsam.core.why.conditions import count
from balsam.core.why.situation import Situation, observe
from balsam.errors import NoSuchJob

__all__ = ["Reason", "count", "reason"]


@dataclass(frozen=True)
class Reason:
    """The condition by its code, in sentences, and the command that would clear it ('' if none).

    Codes are those of ``balsam.core.why.conditions.LABELS``. What follows the text's first line
    is the end of an output.
    """

    code: str
    text: str
    command: str = ""


def reason(job: Any, situation: Situation | None = None) -> Reason:
    """What holds ``job``, as the record shows it now. Raises NoSuchJob if it was removed.

    For many jobs, observe the situation once and pass it on.
    """
    found = conditions.facts(job.pk)
    fresh = BalsamJob.objects.select_related("app", "session").filter(pk=job.pk).first()
    if found is None or fresh is None:
        raise NoSuchJob(f"Job {job.pk} was removed.")
    case = Case(fresh, found, situation or observe())
    code = conditions.code_of(found, case.situation)
    try:
        text, command = TELL[code](case)
    except BalsamJob.DoesNotExist:  # a relative that was removed meanwhile, with what it held
        return reason(job, situation)
    return Reason(code, text, command)


def _parents(case: Case) -> tuple[str, str]:
    waits = family.waits_for(case.job.pk)
    if waits is None:  # they have ended since
        return holdups.bookkeeping(case)
    first, root = (BalsamJob.objects.get(pk=key) for key in (waits.first, waits.root))
    words = f"It waits for its parent {called(first)}, {first.state}"
    if waits.parents > 1:
        words = f"It waits for {waits.unfinished} of its {waits.parents} parents"
        words += f"; the first is {called(first)}, {first.state}"
    held = reason(root, case.situation)
    if root == first:
        return f"{words}. For that one: {held.text}", held.command
    return f"{words}. At the root of it, {called(root)} is {root.state}: {held.text}", held.command


def _parent_broken(case: Case) -> tuple[str, str]:
    line = family.broken_line(case.job.pk)
    if not line:
        return holdups.bookkeeping(case)
    parent = BalsamJob.objects.get(pk=line[0])
    words = f"Its parent {called(parent)} is {parent.state}: it will fail, too"
    if not case.situation.launchers:
        words += ", once a launcher is there"
    return f"{words}.", _line_again(line, [])


def _failed(case: Case) -> tuple[str, str]:
    job = case.job
    if case.facts.cause == states.PARENT_FAILED:
        line = family.broken_line(job.pk)
        if line:
            parent, root = (BalsamJob.objects.get(pk=key) for key in (line[0], line[-1]))
            words = f"It failed {case.since} because its parent {called(parent)} is {parent.state}"
            which = "" if root == parent else f" The first was {called(root)}."
            told = reason(root, case.situation).text
            return f"{words}.{which} {told}", _line_again(line, [job.pk])
    first, command = again(job, case.facts.cause)
    return endings.failed(job, case.since, first), command


def _line_again(line: list[int], more: list[int]) -> str:
    """What lets a line of broken parents (the root last) go on, and what failed with them."""
    root = BalsamJob.objects.get(pk=line[-1])
    event = endings.end(root) if root.state == states.FAILED else None
    _, command = again(root, event.data["cause"] if event else "")
    # A change is for the root only; what failed because of it goes on with it.
    return command if " --set " in command else retry([*reversed(line), *more])


TELL = {
    **holdups.TELL,
    conditions.PARENTS: _parents,
    conditions.PARENT_BROKEN: _parent_broken,
    conditions.FAILED: _failed,
}
