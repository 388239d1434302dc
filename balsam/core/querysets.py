"""Questions about sets of jobs, and what is done to a set: the full Django QuerySet, and more."""

from __future__ import annotations

import operator
import uuid
from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from typing import Any

from django.db import connection, models, transaction

from balsam import states
from balsam.core import by_hand, graph, insert, waiting
from balsam.core.ids import as_uuid, several
from balsam.core.job.files import default_workdir
from balsam.core.names import NamedQuerySet, canonical
from balsam.core.retry import Retried, retry
from balsam.core.rules import MINIMUM, PROTECTED, WAITING_RULES, check_policy
from balsam.core.selection import Selection, named_by
from balsam.core.sql import key_list, keys
from balsam.core.values import checked
from balsam.core.written import MESSAGE, value_of
from balsam.errors import AmbiguousId, IllegalMove, InvalidValue, NoSuchJob, UsageError


class JobQuerySet(NamedQuerySet):
    """Jobs. ``update`` moves state only through the state machine; the rest is plain Django.

    ``lock`` and ``application`` are '' on an object that has none, and so they are in ``filter``
    and ``exclude``; in ``values`` and ``values_list`` they are None.
    """

    # -- finding --------------------------------------------------------------------------------

    def find(self, text: object) -> Any:
        """The one job that ``text`` names: an integer id, or a unique prefix or suffix of a UUID.

        Raises NoSuchJob and AmbiguousId.
        """
        found = list(self.named_by(str(text).strip())[:3])
        if not found:
            raise NoSuchJob(
                f"No job has the id '{text}'; 'balsam ls --columns id,name' lists them."
            )
        if len(found) > 1:
            some = ", ".join(str(job.job_id) for job in found[:2])
            raise AmbiguousId(f"'{text}' is the id of more than one job ({some}, ...); give more.")
        return found[0]

    def named_by(self, text: str) -> JobQuerySet:
        """The jobs that an id may mean: an integer, the beginning or end of a UUID, ``last``."""
        return named_by(self, text)

    def matching(self, selection: Selection) -> JobQuerySet:
        """The jobs that ``selection`` means. Raises NoSuchJob, AmbiguousId, InvalidValue."""
        return selection.of(self)

    def keys_of(self, jobs: Any) -> list[int]:
        """Integer keys of jobs: objects, ids, UUIDs or their text, one or many, or a QuerySet.

        Raises UsageError for a job that is not saved, NoSuchJob, AmbiguousId.
        """
        found: list[Any] = [self._key(job) for job in several(jobs)]
        asked = {key for key in found if isinstance(key, uuid.UUID)}
        if asked:
            known = self._keys_by_uuid(asked)
            found = [known.get(key) or self.find(key).pk if key in asked else key for key in found]
        return found

    def _key(self, job: Any) -> int | uuid.UUID:
        if isinstance(job, models.Model):
            if job.pk is None:
                raise UsageError(f"The job {job} is not saved yet, or deleted; call save() first.")
            return int(job.pk)
        key = as_uuid(job)
        if key is not None:
            return key
        try:
            return operator.index(job)
        except TypeError:
            return int(self.find(job).pk)

    def _keys_by_uuid(self, wanted: Iterable[uuid.UUID]) -> dict[Any, int]:
        known: dict[Any, int] = {}
        left = iter(wanted)
        base = self.model._base_manager
        while page := list(islice(left, _PAGE)):
            known.update(base.filter(job_id__in=page).values_list("job_id", "id"))
        return known

    def uuids(self) -> list[uuid.UUID]:
        """The ``job_id`` of each job."""
        return list(self.values_list("job_id", flat=True))

    def for_steps(self, ids: Collection[int]) -> JobQuerySet:
        """These jobs with their applications, in the order of their ids."""
        return self.filter(pk__in=list(ids)).select_related("app").order_by("pk")

    # -- counting -------------------------------------------------------------------------------

    def counts_by_state(self) -> dict[str, int]:
        """State -> number of jobs, in the order of life, without zeros."""
        counted = dict(
            self.order_by().values_list("state").annotate(number=models.Count("*"))
        )
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

    def _now(self) -> list[by_hand.Now]:
        columns = self.order_by("id").values_list("id", "state", "session_id", "attempt")
        return list(map(by_hand.Now._make, columns))

    def update(self, **values: Any) -> int:
        """Django's update, in any of the fields' names; ``state=`` moves jobs, with their events.

        Leases and attempts are not written: IllegalMove.
        """
        real = self._checked(values)
        state = real.pop("state", None)
        with transaction.atomic():
            if {"name", "workflow"} & set(real):
                self._pin_directories()
            # The filter may be on what changes here, so whom it is about is found out before.
            now = self._now() if state is not None or WAITING_RULES & set(real) else []
            changed: int = super().update(**real) if real else 0
            if state is not None:
                session = self.model.source.own_session
                changed = max(changed, len(by_hand.move(now, state, session=session)))
            if WAITING_RULES & set(real):
                waiting.reconsider([row.job for row in now], _RULES_CHANGED)
            return changed

    update.alters_data = True  # type: ignore[attr-defined]

    def _checked(self, values: dict[str, Any]) -> dict[str, Any]:
        """New values by the names of columns."""
        real = self._real_names(values)
        forbidden = (PROTECTED - {"state"} | {"pk", "session", "lock", "tick"}) & set(real)
        if forbidden:
            raise IllegalMove(f"{', '.join(sorted(forbidden))} can not be updated by hand.")
        if "application" in real:
            named = self.model._meta.get_field("app").related_model._default_manager.named
            app = real.pop("application")
            real["app"] = named(app) if isinstance(app, str) and app else app or None
        for name, value in real.items():
            field = self.model._meta.get_field(name)
            if not field.concrete:
                raise InvalidValue(f"{name} of jobs can not be changed by update.")
            if not field.is_relation and not hasattr(value, "resolve_expression"):
                real[name] = checked(field, value, MINIMUM.get(name))
        if "on_parent_failure" in real:
            check_policy(real["on_parent_failure"])
        return real

    def _pin_directories(self) -> None:
        """Keep directories that exist already where they are, before jobs get other names."""
        started = self.filter(workdir="").exclude(state__in=states.WAITING_STATES)
        columns = started.order_by("id").values_list("workflow", "name", "job_id", "id")
        # Read before anything is written: a query that is still open would see its own changes.
        pins = [(default_workdir(*names), key) for *names, key in list(columns)]
        with connection.cursor() as cursor:
            for start in range(0, len(pins), _CHUNK):
                cursor.executemany(
                    "UPDATE balsam_job SET workdir = %s WHERE id = %s",
                    pins[start : start + _CHUNK],
                )

    def bulk_create(self, objs: Iterable[Any], *args: Any, **options: Any) -> list[Any]:
        """Insert jobs, given as objects or as dicts of fields, each with its first event.

        All or none, in one transaction. Objects get their ids; dicts are not turned into objects.
        """
        if any(options.get(name) for name in ("ignore_conflicts", "update_conflicts")):
            raise UsageError("bulk_create of jobs inserts new rows only.")
        return self.insert(objs)

    def insert(self, given: Iterable[Any], message: str = "") -> list[Any]:
        """``bulk_create`` whose first events say ``message``."""
        return insert.jobs(self.model, given, message)

    def states_of(self, ids: Iterable[int]) -> dict[int, str]:
        """Key -> state, for the jobs that are there."""
        return dict(self.among(list(ids)).values_list("id", "state"))

    def among(self, ids: Collection[int]) -> JobQuerySet:
        """Those with one of these ids, however many (the driver limits the length of a list)."""
        return self.extra(where=[f"balsam_job.id IN ({keys()})"], params=[key_list(ids)])

    def bulk_update(self, objs: Iterable[Any], fields: Sequence[str], *args: Any, **kw: Any) -> int:
        """Django's bulk_update; never of state, lease or attempt (IllegalMove)."""
        names = {canonical(self.model, name) for name in fields}
        forbidden = (PROTECTED | {"pk", "session"}) & names
        if forbidden:
            raise IllegalMove(
                f"{', '.join(sorted(forbidden))} can not be written by bulk_update; "
                "use batch_update_state."
            )
        jobs = list(objs)
        for job in jobs:
            job.clean_values(names)
        with transaction.atomic():
            changed: int = super().bulk_update(jobs, sorted(names), *args, **kw)
            if WAITING_RULES & names:
                waiting.reconsider([job.pk for job in jobs], _RULES_CHANGED)
        for job in jobs:
            job._remember(names)
        return changed

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
            killed: int = jobs.exclude(state__in=states.END_STATES).move(
                states.USER_KILLED, message
            )
            return killed

    # -- sets that a person names ---------------------------------------------------------------

    def by_key(self, ids: Collection[int]) -> dict[int, Any]:
        """Key -> job, for those that are there."""
        return {job.pk: job for job in self.among(ids)}

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
        return self.exclude(state__in=states.END_STATES)

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
        return int(self.update(**{name: value}))

#: UUIDs looked up in one query.
_PAGE = 500
#: Rows written by one statement of the driver.
_CHUNK = 5000
_RULES_CHANGED = "what it waits for was changed"
_BUSY = models.Q(state__in=states.ACTIVE_STATES) | models.Q(session__isnull=False)


class JobManager(models.Manager.from_queryset(JobQuerySet)):  # type: ignore[misc]
    """``BalsamJob.objects``."""
