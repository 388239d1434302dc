"""A job's parents and children; mixed into ``BalsamJob``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from balsam.core import graph
from balsam.core.ids import short_id
from balsam.core.job.files import default_workdir, working_path
from balsam.errors import InvalidValue, UsageError


class JobLinks:
    """The task graph as one job sees it."""

    if TYPE_CHECKING:
        objects: Any
        pk: Any
        refresh_from_db: Any

        @property
        def cute_id(self) -> str: ...

    def get_parents(self) -> Any:
        """The parents, as a QuerySet; of a job that is not saved, or deleted, none."""
        jobs = type(self).objects
        return jobs.none() if self.pk is None else jobs.filter(child_edges__child=self.pk)

    def parents_in_order(self) -> Any:
        """The parents in the order they were added."""
        return self.get_parents().order_by("child_edges__id")

    def parents_files(self, data: Path) -> list[tuple[Path, str, str]]:
        """The directory, name and short id of each parent, in that order; nothing else is read."""
        columns = ("workflow", "name", "job_id", "workdir", "user_workdir")
        return [
            (
                working_path(data, elsewhere, workdir or default_workdir(workflow, name, job_id)),
                name,
                short_id(job_id),
            )
            for workflow, name, job_id, workdir, elsewhere in self.parents_in_order().values_list(
                *columns
            )
        ]

    def get_parents_by_id(self) -> list[str]:
        """UUIDs of the parents, as text."""
        return [str(key) for key in self.get_parents().order_by("id").uuids()]

    def set_parents(self, parents: Iterable[Any]) -> None:
        """Make ``parents`` (jobs, UUIDs or ids) the only parents; DependencyError if impossible."""
        if self.pk is None:
            raise UsageError(f"{self.cute_id} is not saved yet; give parents=... or save() first.")
        graph.set_edges(self.pk, type(self).objects.keys_of(parents))
        self.refresh_from_db(fields=["state", "state_timestamp"])

    def get_children(self) -> Any:
        """The children, as a QuerySet; of a job that is not saved, or deleted, none."""
        jobs = type(self).objects
        return jobs.none() if self.pk is None else jobs.filter(parent_edges__parent=self.pk)

    def get_children_by_id(self) -> list[str]:
        """UUIDs of the children, as text."""
        return [str(key) for key in self.get_children().order_by("id").uuids()]

    def get_child_by_name(self, name: str) -> Any:
        """The child of that name; ValueError unless there is exactly one."""
        found = list(self.get_children().filter(name=name)[:2])
        if len(found) != 1:
            how_many = "no child" if not found else "more than one child"
            raise InvalidValue(f"{self.cute_id} has {how_many} named '{name}'.")
        return found[0]
