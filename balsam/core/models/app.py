"""Applications: what a job runs, with its hooks."""

from __future__ import annotations

from typing import Any

from django.db import models

from balsam.core.fields import EnvironField
from balsam.core.names import NamedModel, NamedQuerySet, canonical
from balsam.core.values import from_text
from balsam.errors import InvalidValue, NoApplication, nearest


class ApplicationQuerySet(NamedQuerySet):
    """Questions about applications."""

    def named(self, name: str) -> ApplicationDefinition:
        """The application of that name; NoApplication, with the nearest, if there is none."""
        found: ApplicationDefinition | None = self.filter(name=name).first()
        if found is None:
            known = list(self.order_by("name").values_list("name", flat=True)[:10_000])
            listed = f" (registered: {', '.join(known[:8])})" if known else ""
            raise NoApplication(
                f"No application '{name}' is registered{nearest(name, known)}{listed}; "
                "add it with 'balsam app --name ... --executable ...'."
            )
        return found


class ApplicationDefinition(NamedModel):
    """A registered executable, command template or Python function, and its hooks."""

    name = models.TextField(unique=True)
    description = models.TextField(default="", blank=True)
    executable = models.TextField(default="", blank=True)
    preprocess = models.TextField(default="", blank=True)
    postprocess = models.TextField(default="", blank=True)
    envscript = models.TextField(default="", blank=True)
    environ_vars = EnvironField(default=dict, blank=True)
    command_template = models.TextField(default="", blank=True)
    parameters = models.JSONField(default=dict, blank=True)
    transfers = models.JSONField(default=dict, blank=True)
    serialized_class = models.TextField(default="", blank=True)
    source_code = models.TextField(default="", blank=True)

    ALIASES = {
        "default_preprocess": ("preprocess",),
        "default_postprocess": ("postprocess",),
        "environment_variables": ("environ_vars",),
    }

    objects = models.Manager.from_queryset(ApplicationQuerySet)()

    class Meta:
        db_table = "balsam_app"

    def __str__(self) -> str:
        return self.name

    @classmethod
    def register(cls, **fields: Any) -> ApplicationDefinition:
        """Add an application; InvalidValue if the name is empty or taken."""
        app = cls(**fields)
        if not app.name.strip():
            raise InvalidValue("An application needs a name; give it with --name.")
        if cls.objects.filter(name=app.name).exists():
            raise InvalidValue(
                f"An application '{app.name}' is registered already; choose another name, or "
                f"change it with 'balsam modify {app.name} FIELD VALUE --type apps'."
            )
        app.save()
        return app

    def modify(self, name: str, text: str) -> Any:
        """Set one field from its written form and save it; returns the new value."""
        field = canonical(type(self), name)
        if field == "id":
            raise InvalidValue("The id of an application can not be changed.")
        setattr(self, field, from_text(type(self)._meta.get_field(field), text))
        self.save(update_fields=[field])
        return getattr(self, field)

    def delete(self, *args: Any, **kwargs: Any) -> Any:
        """Delete the application; refused while jobs refer to it."""
        used = self.jobs.count()
        if used:
            raise InvalidValue(
                f"The application '{self.name}' is used by {used} job(s); remove those first."
            )
        return super().delete(*args, **kwargs)
