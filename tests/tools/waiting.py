"""Waiting for what another process or thread brings about."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Other processes of the machine may hold up anything for so long.
PATIENCE_SECONDS = 30.0


def until(condition: Callable[[], object], what: str = "it") -> None:
    """Return when ``condition`` holds; fail, saying ``what`` was waited for, if it never does."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < give_up, f"waited for {what} in vain"
        time.sleep(0.01)
