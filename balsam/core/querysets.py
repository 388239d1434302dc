"""Questions about sets of jobs, and what is done to a set: the full Django QuerySet, and more."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from django.db import models, transaction

from balsam import states
from balsam.core import advance, graph, insert
from balsam.core.ids import as_uuid
from balsam.core.names import NamedQuerySet
from balsam.core.sql import key_list, keys, rows
from balsam.errors import AmbiguousId, IllegalMove, InvalidValue, NoSuchJob, UsageError


class JobQuerySet(NamedQuerySet):
    """Jobs. ``update`` moves state only through the state machine; the rest is plain Django."""

    # -- finding --------------------------------------------------------------------------------

    def find(self, text: object) -> Any:
        """The one job that ``text`` names: an integer id, or a unique prefix or suffix of a UUID.

        Raises NoSuchJob and AmbiguousId.
        """
        found = list(self._matching(str(text).strip())[:3])
        if not found:
            raise NoSuchJob(f"No job has the id '{text}'; 'balsam ls' lists ids.")
        if len(found) > 1:
            some = ", ".join(str(job.job_id) for job in found[:2])
            raise AmbiguousId(f"'{text}' is the id of more than one job ({some}, ...); give more.")
        return found[0]

    def _matching(self, text: str) -> JobQuerySet:
        key = as_uuid(text)
        if key is not None:
            return self.filter(job_id=key)
        if text.isdecimal() and len(text) < 19:
            exact = self.filter(pk=int(text))
            if exact.exists():
                return exact
        low, high = _prefix_range(text)
        if low is None:
            return self.none()
        assert high is not None
        by_prefix = self.filter(job_id__gte=low, job_id__lte=high)
        if by_prefix.exists():
            return by_prefix
        digits = text.replace("-", "").lower()
        return self.filter(job_id__endswith=digits) if len(digits) >= 4 else self.none()

    def select(
        self,
        *,
        id: str | None = None,
        name: str | None = None,
        state: str | None = None,
        workflow: str | None = None,
        application: str | None = None,
        exact_workflow: str | None = None,
    ) -> JobQuerySet:
        """The classic selection: parts of name and workflow, an id, an exact state."""
        jobs = self
        if id:
            jobs = jobs._matching(id)
        if name:
            jobs = jobs.filter(name__icontains=name)
        if state:
            jobs = jobs.filter(state=state)
        if workflow:
            jobs = jobs.filter(workflow__icontains=workflow)
        if exact_workflow:
            jobs = jobs.filter(workflow=exact_workflow)
        if application:
            jobs = jobs.filter(app__name=application)
        return jobs

    def keys_of(self, jobs: Iterable[Any]) -> list[int]:
        """Integer keys of jobs given as objects, ids, UUIDs or their text, or as a QuerySet."""
        keys: list[int] = []
        for job in jobs:
            if isinstance(job, models.Model):
                keys.append(int(job.pk))
            elif isinstance(job, int):
                keys.append(job)
            else:
                keys.append(int(self.find(job).pk))
        return keys

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

    def move(self, new_state: str, message: str = "") -> int:
        """Move each job to ``new_state`` as a user may, with events; killed ones stay.

        All or none: IllegalMove if the state machine forbids it for any. Returns how many moved.
        """
        with transaction.atomic():
            return _move(self._by_state(), new_state, message)

    def _by_state(self) -> dict[str, list[int]]:
        by_state: dict[str, list[int]] = {}
        for key, state in self.order_by("id").values_list("id", "state"):
            by_state.setdefault(state, []).append(key)
        return by_state

    def update(self, **values: Any) -> int:
        """Django's update, in any of the fields' names; ``state=`` moves jobs, with their events.

        Leases and attempts are not written: IllegalMove.
        """
        real = self._real_names(values)
        state = real.pop("state", None)
        from balsam.core.models.app import ApplicationDefinition
        from balsam.core.models.job import MINIMUM, ON_PARENT_FAILURE, PROTECTED
        from balsam.core.values import checked

        forbidden = (PROTECTED | {"session", "lock", "tick"}) & set(real)
        if forbidden:
            raise IllegalMove(f"{', '.join(sorted(forbidden))} can not be updated by hand.")
        if "application" in real:
            real["app"] = ApplicationDefinition.objects.named(real.pop("application"))
        for name, value in real.items():
            field = self.model._meta.get_field(name)
            if not field.is_relation and not hasattr(value, "resolve_expression"):
                real[name] = checked(field, value, MINIMUM.get(name))
        if real.get("on_parent_failure", ON_PARENT_FAILURE[0]) not in ON_PARENT_FAILURE:
            raise InvalidValue(f"on_parent_failure is one of {', '.join(ON_PARENT_FAILURE)}.")
        with transaction.atomic():
            if {"name", "workflow"} & set(real):
                self._pin_directories()
            # The filter may be on what changes here, so who moves is found out before.
            by_state = self._by_state() if state is not None else {}
            changed: int = super().update(**real) if real else 0
            return max(changed, _move(by_state, state))

    update.alters_data = True  # type: ignore[attr-defined]

    def _pin_directories(self) -> None:
        """Keep directories that exist already where they are, before jobs get other names."""
        started = self.filter(workdir="").exclude(state__in=states.WAITING_STATES)
        for job in started.only("workflow", "name", "job_id"):
            models.QuerySet.update(self.model._base_manager.filter(pk=job.pk),
                                   workdir=job.relative_workdir())

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
        from balsam.core.models.job import PROTECTED

        forbidden = (PROTECTED | {"session"}).intersection(fields)
        if forbidden:
            raise IllegalMove(
                f"{', '.join(sorted(forbidden))} can not be written by bulk_update; "
                "use batch_update_state."
            )
        return super().bulk_update(objs, fields, *args, **kw)

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


class JobManager(models.Manager.from_queryset(JobQuerySet)):  # type: ignore[misc]
    """``BalsamJob.objects``."""


def _move(by_state: Mapping[str, Collection[int]], new_state: str, message: str = "") -> int:
    moved: set[int] = set()
    hops = [advance.Hop(new_state, message)]
    for state, jobs in by_state.items():
        if state in (new_state, states.USER_KILLED):
            continue
        if new_state == states.USER_KILLED and state in states.END_STATES:
            continue
        moved |= advance.advance_set(jobs, state, hops, states.USER, follow_up=False)
    # Not before all have moved: the end of the first would reach its children among the others.
    advance.follow(dict.fromkeys(moved, new_state))
    return len(moved)


def _prefix_range(text: str) -> tuple[uuid.UUID | None, uuid.UUID | None]:
    """The UUIDs that begin with ``text`` (dashes ignored); (None, None) if none can."""
    digits = text.replace("-", "").lower()
    if not digits or len(digits) > 32 or set(digits) - set("0123456789abcdef"):
        return None, None
    return uuid.UUID(digits.ljust(32, "0")), uuid.UUID(digits.ljust(32, "f"))


def parents_of(children: Collection[int]) -> dict[int, list[str]]:
    """Child id -> UUIDs of its parents as text, for the children that have any."""
    found: dict[int, list[str]] = {}
    for child, parent in rows(
        f"""SELECT edge.child_id, parent.job_id FROM balsam_dependency edge
            JOIN balsam_job parent ON parent.id = edge.parent_id
            WHERE edge.child_id IN ({keys()}) ORDER BY edge.id""",
        (key_list(children),),
    ):
        found.setdefault(child, []).append(str(uuid.UUID(str(parent))))
    return found
