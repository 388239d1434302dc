"""Applications: what a job runs, with its hooks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from django.db import models, transaction

from balsam.core.fields import CommandField, EnvironField, RetryField
from balsam.core.lookups import any_of, is_glob
from balsam.core.names import NamedModel, NamedQuerySet, canonical
from balsam.core.values import checked, from_text
from balsam.errors import InvalidValue, NoApplication, nearest


class ApplicationQuerySet(NamedQuerySet):
    """Questions about applications."""

    def named(self, name: str) -> ApplicationDefinition:
        """The application of that name; NoApplication, with the nearest, if there is none."""
        found: ApplicationDefinition | None = self.filter(name=name).first()
        if found is None:
            known = list(self.order_by("name").values_list("name", flat=True)[:10_000])
            listed = f" (registered: {', '.join(known[:8])})" if known else ""
            raise UnknownApplication(
                f"No application '{name}' is registered{nearest(name, known)}{listed}; "
                "add it with 'balsam app --name ... --executable ...'."
            )
        return found

    def selected(
        self, names: Collection[str] = (), keys: Collection[str] = (), *, parts: bool = True
    ) -> Any:
        """Those of one of ``names``, and of one of the numbers or names ``keys``.

        A name with ``*`` or ``?`` is a pattern; another may be a part of a name, with ``parts``.
        """
        apps = self
        if names:
            plain = "icontains" if parts else "exact"
            ways = (("glob" if is_glob(name) else plain, name) for name in names)
            apps = apps.filter(any_of(models.Q(**{f"name__{how}": name}) for how, name in ways))
        if keys:
            numbers = [int(key) for key in keys if key.isdecimal() and len(key) < 19]
            apps = apps.filter(models.Q(name__in=keys) | models.Q(pk__in=numbers))
        return apps

    def update(self, **values: Any) -> int:
        """Django's update. Raises InvalidValue for a text that can not be stored."""
        for name, value in _texts(values):
            if not hasattr(value, "resolve_expression"):
                values[name] = checked(self.model._meta.get_field(name), value)
        changed: int = super().update(**values)
        return changed

    update.alters_data = True  # type: ignore[attr-defined]


def _texts(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Those of ``values`` that are texts of an application."""
    fields = ApplicationDefinition._meta.concrete_fields
    names = [field.name for field in fields if isinstance(field, models.TextField)]
    return [(name, values[name]) for name in names if name in values]


class ApplicationDefinition(NamedModel):
    """A registered executable, command template or Python function, and its hooks."""

    name = models.TextField(unique=True)
    description = models.TextField(default="", blank=True)
    executable = CommandField(default="", blank=True)
    preprocess = CommandField(default="", blank=True)
    postprocess = CommandField(default="", blank=True)
    envscript = models.TextField(default="", blank=True)
    environ_vars = EnvironField(default=dict, blank=True)
    command_template = models.TextField(default="", blank=True)
    parameters = models.JSONField(default=dict, blank=True)
    transfers = models.JSONField(default=dict, blank=True)
    retry = RetryField(default=dict, blank=True)
    serialized_class = models.TextField(default="", blank=True)
    source_code = models.TextField(default="", blank=True)

    ALIASES = {
        "default_preprocess": ("preprocess",),
        "default_postprocess": ("postprocess",),
        "environment_variables": ("environ_vars",),
    }

    #: Texts as they were read: of an older Balsam's, not all would be taken now.
    _read: Mapping[str, Any] = MappingProxyType({})

    objects = models.Manager.from_queryset(ApplicationQuerySet)()

    class Meta:
        db_table = "balsam_app"

    def __str__(self) -> str:
        return self.name

    @classmethod
    def from_db(cls, db: Any, field_names: Any, values: Any) -> ApplicationDefinition:
        app: ApplicationDefinition = super().from_db(db, field_names, values)
        app._read = dict(_texts(app.__dict__))
        return app

    @classmethod
    def register(cls, **fields: Any) -> ApplicationDefinition:
        """Add an application; InvalidValue if the name is empty or taken."""
        app = cls(**fields)
        app._check_name()
        app.save()
        return app

    def save(self, *args: Any, update_fields: Iterable[str] | None = None, **kwargs: Any) -> None:
        """Insert or write it.

        Raises InvalidValue for a changed text that can not be stored, and for nothing to run.
        """
        names = None if update_fields is None else set(update_fields)
        changed = set()
        for name, value in _texts(self.__dict__):
            if (names is None or name in names) and self._read.get(name) != value:
                setattr(self, name, checked(self._meta.get_field(name), value))
                changed.add(name)
        if changed & {"executable", "command_template"} and not self._has_command():
            raise InvalidValue(f"The application '{self.name}' needs an executable.")
        super().save(*args, update_fields=names, **kwargs)

    def _has_command(self) -> bool:
        return bool(self.executable.strip() or self.command_template.strip())

    def _check_name(self) -> None:
        if not self.name.strip():
            raise InvalidValue("An application needs a name; give it with --name.")
        if type(self).objects.filter(name=self.name).exclude(pk=self.pk).exists():
            raise InvalidValue(
                f"An application '{self.name}' is registered already; choose another name, or "
                f"change it with 'balsam modify {self.name} FIELD VALUE --type apps'."
            )

    def modify(self, name: str, text: str) -> Any:
        """Set one field from its written form and save it; returns the new value.

        Raises UnknownName and InvalidValue; the application is as it was then.
        """
        real = canonical(type(self), name)
        fields = {field.name: field for field in self._meta.concrete_fields}
        if real not in fields or fields[real].primary_key:
            raise InvalidValue(f"{name} of an application can not be changed by hand.")
        before = getattr(self, real)
        setattr(self, real, from_text(fields[real], text))
        try:
            self._check_name()
            self.save(update_fields=[real])
        except BaseException:
            setattr(self, real, before)
            raise
        return getattr(self, real)

    @classmethod
    def remove(cls, apps: Iterable[ApplicationDefinition]) -> None:
        """Delete them, all or none; refused while jobs refer to one of them."""
        with transaction.atomic():
            for app in apps:
                app.delete()

    def delete(self, *args: Any, **kwargs: Any) -> Any:
        """Delete the application; refused while jobs refer to it."""
        used = self.jobs.count()
        if used:
            raise InvalidValue(
                f"The application '{self.name}' is used by {used} job(s); remove those first."
            )
        return super().delete(*args, **kwargs)


class UnknownApplication(
    NoApplication,
    ApplicationDefinition.DoesNotExist,  # type: ignore[name-defined]
):
    """NoApplication that also answers to Django's own exceptions, as older lines raised them."""
