"""Questions about sets of jobs, and what is done to a set: the full Django QuerySet, and more."""

from __future__ import annotations

from collections.abc import Collection

from django.db import models, transaction

from balsam import states
from balsam.core import by_hand, graph
from balsam.core.job_set.finding import JobFinding
from balsam.core.job_set.writing import JobWriting
from balsam.core.retry import Retried, retry
from balsam.core.written import MESSAGE, field_of, value_of

#: Named, for an index finds them then.
_UNENDED = [state for state in states.STATES if state not in states.END_STATES]
_BUSY = models.Q(state__in=states.ACTIVE_STATES) | models.Q(session__isnull=False)


class JobQuerySet(JobFinding, JobWriting):
    """Jobs. ``update`` moves state only through the state machine; the rest is plain Django.

    ``lock`` and ``application`` are '' on an object that has none, and so they are in ``filter``
    and ``exclude``; in ``values`` and ``values_list`` they are None.
    """

    # -- counting -------------------------------------------------------------------------------

    def counts_by_state(self) -> dict[str, int]:
        """State -> number of jobs, in the order of life, without zeros."""
        counted = dict(self.order_by().values_list("state").annotate(number=models.Count("*")))
        return {state: counted[state] for state in states.STATES if state in counted}

    def workflows(self) -> list[tuple[str, int]]:
        """(workflow, number of jobs), by name."""
        groups = self.order_by().values_list("workflow").annotate(number=models.Count("*"))
        return [(name, number) for name, number in groups.order_by("workflow")]

    # -- changing -------------------------------------------------------------------------------

    def move(self, new_state: str, message: str = "", release: bool = False) -> int:
        """Move each job to ``new_state`` as a user may, with events; killed ones stay.

        What this process has leased by ``BalsamJob.source`` moves as Balsam may, too; ``release``
        gives those leases back. All or none: IllegalMove if the state machine forbids it for any.
        Returns how many moved.
        """
        source = self.model.source
        with transaction.atomic():
            now = self._now()
            moved = by_hand.move(now, new_state, message, session=source.own_session)
            if release:
                source.give_back([row.job for row in now], moved)
        return len(moved)

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete the jobs with their events and edges; children that waited for them fail."""
        keys = list(self.order_by("id").values_list("id", flat=True))
        graph.forget(keys)
        self._result_cache = None
        return len(keys), {self.model._meta.label: len(keys)}

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]

    def kill(self, message: str = "", recursive: bool = False) -> int:
        """Kill the jobs that have not ended (and all below them); returns how many."""
        with transaction.atomic():
            keys: Collection[int] = list(self.order_by("id").values_list("id", flat=True))
            if recursive:
                keys = [*keys, *graph.descendants(keys)]
            jobs = self.model._default_manager.all().among(keys)
            killed: int = jobs.filter(state__in=_UNENDED).move(states.USER_KILLED, message)
            return killed

    # -- sets that a person names ---------------------------------------------------------------

    def busy(self) -> JobQuerySet:
        """Jobs that run, or that a launcher or script has leased."""
        return self.filter(_BUSY)

    def free(self) -> JobQuerySet:
        """Jobs that nobody works on."""
        return self.exclude(_BUSY)

    def running(self) -> JobQuerySet:
        """Jobs that run."""
        return self.filter(state__in=states.ACTIVE_STATES)

    def unended(self) -> JobQuerySet:
        """Jobs that have not ended."""
        return self.filter(state__in=_UNENDED)

    def broken(self) -> JobQuerySet:
        """Jobs that failed or were killed."""
        return self.filter(state__in=states.BROKEN_STATES)

    def labels(self) -> list[str]:
        """``[name | 9a3c11f0]`` of each."""
        return [job.cute_id for job in self.only("name", "job_id").order_by("id")]

    def remove(self) -> int:
        """Delete those that nobody works on at this moment; returns how many."""
        with transaction.atomic():
            return self.free().delete()[0]

    def retry(self, *, from_start: bool = False, message: str = "") -> Retried:
        """Let those that failed or were killed go on; see :func:`balsam.core.retry.retry`."""
        return retry(self, from_start=from_start, message=message)

    def modify(self, name: str, text: str) -> int:
        """Set one field of all of them from its written form; returns how many there are.

        Raises UnknownName, InvalidValue, IllegalMove.
        """
        value = value_of(self.model, name, text)
        if name == "state":
            return self.move(value, MESSAGE)
        return int(self.update(**{field_of(self.model, name): value}))


class JobManager(models.Manager.from_queryset(JobQuerySet)):  # type: ignore[misc]
    """``BalsamJob.objects``."""
