"""How far the jobs are that somebody waits for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from balsam import states
from balsam.core.models import BalsamJob
from balsam.core.selection import Selection

ENDED = "ended"
FINISHED = "finished"
RUNNING = "running"
#: A job in one of these has been started.
_STARTED = (
    states.RUNNING,
    states.RUN_DONE,
    states.RUN_ERROR,
    states.RUN_TIMEOUT,
    states.POSTPROCESSED,
    states.RESTART_READY,
)


@dataclass(frozen=True)
class Standing:
    """The jobs by state, and how many of those named were removed meanwhile."""

    counts: dict[str, int]
    removed: int = 0

    def number(self, *which: str) -> int:
        """Jobs in these states."""
        return sum(self.counts.get(state, 0) for state in which)

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.counts.values()) + self.removed

    @property
    def finished(self) -> int:
        """Jobs that ended well."""
        return self.number(states.JOB_FINISHED)

    @property
    def broken(self) -> int:
        """Jobs that failed, were killed or removed: they will not finish by themselves."""
        return self.number(*states.BROKEN_STATES) + self.removed

    @property
    def ended(self) -> int:
        """Jobs that have ended, well or not."""
        return self.finished + self.broken

    def reached(self, goal: str, any_one: bool = False) -> bool:
        """Whether all (or any) of the jobs have come as far as the goal, or never will.

        ``finished`` is over as soon as one can not finish any more (with ``any_one``: all).
        """
        if goal == FINISHED:
            if any_one:
                return self.finished > 0 or self.broken == self.total
            return self.broken > 0 or self.finished == self.total
        there = self.ended + (self.number(*_STARTED) if goal == RUNNING else 0)
        return there > 0 if any_one else there == self.total

    def success(self, goal: str, any_one: bool = False) -> bool:
        """Whether that was for the best."""
        if any_one:
            return self.finished > 0 or (goal == RUNNING and self.number(*_STARTED) > 0)
        return self.broken == 0


class Watched:
    """The jobs of a selection: fixed where it names them or goes by what changes.

    Jobs added while one waits count if only names, workflows, applications, tags, parents or
    ``since`` select. Raises NoSuchJob, AmbiguousId and InvalidValue.
    """

    def __init__(self, selection: Selection) -> None:
        named = replace(selection, names=(), workflows=(), apps=(), tags=(), parents=(), since=None)
        self._selection = selection
        self._keys: list[int] | None = None
        if named:
            found = BalsamJob.objects.matching(selection).order_by()
            self._keys = list(found.values_list("id", flat=True))

    def jobs(self) -> Any:
        """They, as a QuerySet."""
        if self._keys is not None:
            return BalsamJob.objects.all().among(self._keys)
        return BalsamJob.objects.matching(self._selection)

    def standing(self) -> Standing:
        """How far they are."""
        counts = self.jobs().counts_by_state()
        here = sum(counts.values())
        return Standing(counts, len(self._keys) - here if self._keys is not None else 0)
