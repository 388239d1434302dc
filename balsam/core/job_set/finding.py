"""Jobs found by what people and scripts call them; a base of ``JobQuerySet``."""

from __future__ import annotations

import operator
import uuid
from collections.abc import Collection, Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

from django.db import models

from balsam.core.ids import as_uuid, several
from balsam.core.names import NamedQuerySet
from balsam.core.selection import Selection, named_by
from balsam.core.sql import among, column, key_list
from balsam.errors import AmbiguousId, NoSuchJob, UsageError

if TYPE_CHECKING:
    from balsam.core.querysets import JobQuerySet

#: UUIDs looked up in one query.
_PAGE = 500


class JobFinding(NamedQuerySet):
    """From names of jobs to jobs, and between their names."""

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

    def workflow_names(self) -> list[str]:
        """The names of all workflows, by name; jobs are not read one by one for that."""
        return column(
            """WITH RECURSIVE named (name) AS (
                   SELECT min(workflow) FROM balsam_job
                   UNION ALL
                   SELECT (SELECT min(workflow) FROM balsam_job WHERE workflow > named.name)
                   FROM named WHERE named.name IS NOT NULL)
               SELECT name FROM named WHERE name IS NOT NULL"""
        )

    def for_steps(self, ids: Collection[int]) -> JobQuerySet:
        """These jobs with their applications, in the order of their ids."""
        return self.filter(pk__in=list(ids)).select_related("app").order_by("pk")

    def by_key(self, ids: Collection[int]) -> dict[int, Any]:
        """Key -> job, for those that are there."""
        return {job.pk: job for job in self.among(ids)}

    def states_of(self, ids: Iterable[int]) -> dict[int, str]:
        """Key -> state, for the jobs that are there."""
        return dict(self.among(list(ids)).values_list("id", "state"))

    def among(self, ids: Collection[int]) -> JobQuerySet:
        """Those with one of these ids, however many (the driver limits the length of a list)."""
        return self.extra(where=[f"balsam_job.id {among()}"], params=[key_list(ids)])
