"""The project that this process works in: found once, whatever directory it changes to later."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar

from balsam.conf.project import Project, find

_VARIABLES = ("BALSAM_DB_PATH", "BALSAM_SITE_PATH")

#: What the variables said when the project was found, and the project.
_found: tuple[tuple[str | None, ...], Project] | None = None
_chosen: ContextVar[Project | None] = ContextVar("project", default=None)


def project() -> Project:
    """The project found first in this process; it is looked for again if a variable changed.

    Raises ProjectNotFound.
    """
    global _found
    chosen = _chosen.get()
    if chosen is not None:
        return chosen
    said = tuple(os.environ.get(name) for name in _VARIABLES)
    if _found is None or _found[0] != said:
        _found = (said, find())
    return _found[1]


def forget() -> None:
    """Look for the project again when it is next asked for."""
    global _found
    _found = None


@contextlib.contextmanager
def using(chosen: Project) -> Iterator[None]:
    """Work in this project inside the block, whatever is found from here."""
    token = _chosen.set(chosen)
    try:
        yield
    finally:
        _chosen.reset(token)
