"""A job written out, as a dict or as text, and read again; mixed into ``BalsamJob``."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any


class JobCopies:
    """Copies of a job's fields."""

    if TYPE_CHECKING:
        _meta: Any
        _new_parents: list[Any]
        application: str
        get_parents_by_id: Callable[[], list[str]]
        pk: Any

    def to_dict(self, parents: list[str] | None = None) -> dict[str, Any]:
        """Every field by name, as plain values; relations as keys, parents as UUIDs.

        ``parents`` is for who knows them already: they cost a query.
        """
        names = [field.attname for field in self._meta.concrete_fields]
        record = {name: getattr(self, name) for name in names}
        record["application"] = self.application
        if parents is None:
            parents = self.get_parents_by_id() if self.pk else list(map(_key, self._new_parents))
        record["parents"] = parents
        return record

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Any:
        """An unsaved job of such fields (see :meth:`to_dict`)."""
        record = dict(record)
        if isinstance(record.get("job_id"), str):
            record["job_id"] = uuid.UUID(record["job_id"])
        for name in ("state_timestamp", "last_update"):
            if isinstance(record.get(name), str):
                record[name] = datetime.fromisoformat(record[name])
        if record.get("app_id"):
            record.pop("application", None)
        return cls(**record)

    def serialize(self) -> str:
        """The job's fields as JSON text."""
        return json.dumps(self.to_dict(), default=str)

    @classmethod
    def deserialize(cls, text: str) -> Any:
        """An unsaved job from :meth:`serialize`'s text."""
        return cls.from_dict(json.loads(text))


def _key(parent: Any) -> str:
    """A parent of a job that is not saved yet, as text."""
    return str(getattr(parent, "job_id", parent))
