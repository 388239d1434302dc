"""The Django application that holds Balsam's tables."""

from __future__ import annotations

from django.apps import AppConfig


class CoreConfig(AppConfig):
    """Registered as ``core``; the tables are named ``balsam_*``."""

    name = "balsam.core"
    label = "core"
    default_auto_field = "django.db.models.BigAutoField"
