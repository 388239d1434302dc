"""The older name of ``balsam.core.models``."""

from __future__ import annotations

from balsam.core.models import *  # noqa: F403
