"""A bare Django: set up with one small application, and its first query of the model.

The environment has what Django calls a database, in BARE_DJANGO as JSON.
"""

from __future__ import annotations

import json
import os
import sys


def main() -> None:
    import django
    from django.conf import settings

    settings.configure(
        DATABASES={"default": json.loads(os.environ["BARE_DJANGO"])},
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
