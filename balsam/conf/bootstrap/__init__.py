"""Configure Django for the project at hand, without opening its database.

The database engine named here (``base.py`` beside this file) finds the project when the first query
is made, so importing Balsam works anywhere and a missing project is reported by whoever asks first.
"""

from __future__ import annotations

import os
import threading

#: Number of the newest migration; written into each database (SQLite's ``user_version``).
SCHEMA_VERSION = 5

#: Populating Django imports ``balsam.core``, which comes back here in the same thread.
_lock = threading.RLock()


def setup() -> None:
    """Configure and populate Django once; a Django configured by somebody else is left alone."""
    import django
    from django.apps import apps
    from django.conf import settings

    with _lock:
        ours = not settings.configured
        if ours:
            settings.configure(
                DATABASES={
                    "default": {
                        "ENGINE": "balsam.conf.bootstrap",
                        "NAME": "",
                        "TEST": {"MIGRATE": True},
                    }
                },
                INSTALLED_APPS=["balsam.core"],
                DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
                USE_TZ=True,
                TIME_ZONE="UTC",
                USE_I18N=False,
                LOGGING_CONFIG=None,
                SECRET_KEY="balsam-serves-no-requests",
            )
        # A notebook runs its cells inside an event loop, where Django refuses every query in case
        # it would block a server. There is no server here: one person waits for each answer.
        os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        if apps.ready or apps.loading:
            return
        if ours:
            # What more django.setup() does, and imports, is for those who serve requests.
            apps.populate(settings.INSTALLED_APPS)
        else:
            django.setup()
