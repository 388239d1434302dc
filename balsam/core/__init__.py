"""The record: the only code that talks to the database.

Importing this package configures Django for the project at hand (the one import in Balsam that does
something); it opens no database.
"""

from __future__ import annotations

from balsam.conf import bootstrap

bootstrap.setup()
