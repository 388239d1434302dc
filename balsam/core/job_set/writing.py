"""Fields of many jobs written at once, by the rules of one; a base of ``JobQuerySet``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connection, transaction

from balsam import states
from balsam.core import by_hand, insert, waiting
from balsam.core.job.files import default_workdir
from balsam.core.names import NamedQuerySet, canonical
from balsam.core.rules import MINIMUM, PROTECTED, WAITING_RULES
from balsam.core.values import checked
from balsam.errors import IllegalMove, InvalidValue, UsageError

#: Rows written by one statement of the driver.
_CHUNK = 5000
_RULES_CHANGED = "what it waits for was changed"


class JobWriting(NamedQuerySet):
    """Insertion and update of jobs."""

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
            job.clean_values(names.intersection(job.changed_fields()))
        with transaction.atomic():
            changed: int = super().bulk_update(jobs, sorted(names), *args, **kw)
            if WAITING_RULES & names:
                waiting.reconsider([job.pk for job in jobs], _RULES_CHANGED)
        for job in jobs:
            job._remember(names)
        return changed

    def _now(self) -> list[by_hand.Now]:
        columns = self.order_by("id").values_list("id", "state", "session_id", "attempt")
        return list(map(by_hand.Now._make, columns))
