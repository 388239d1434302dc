"""A bare Django: set up with one small application, and its first query of the model. DATABASE."""

from __future__ import annotations

import sys


def main() -> None:
    import django
    from django.conf import settings

    settings.configure(
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1]}},
        INSTALLED_APPS=["django.contrib.contenttypes"],
        USE_TZ=True,
    )
    django.setup()

    from django.contrib.contenttypes.models import ContentType
    from django.db import connection

    if "--create" in sys.argv:
        with connection.schema_editor() as editor:
            editor.create_model(ContentType)
    print(list(ContentType.objects.all()[:20]))


if __name__ == "__main__":
    main()
