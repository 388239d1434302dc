"""The project that this process works in: found once, whatever directory it changes to later."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

from balsam.conf.project import Project, find

#: Nothing, or the project under this key, put there by the first of several threads.
_FOUND = "project"
_found: dict[str, Project] = {}
_chosen: ContextVar[Project | None] = ContextVar("project", default=None)


def project() -> Project:
    """The project found first in this process, also if the environment names another by now.

    Each thread has a connection of its own, and they have to be to the same project. Raises
    ProjectNotFound.
    """
    return _chosen.get() or _found.get(_FOUND) or _found.setdefault(_FOUND, find())


def forget() -> None:
    """Look for the project again when it is next asked for."""
    _found.clear()


@contextlib.contextmanager
def using(chosen: Project) -> Iterator[None]:
    """Work in this project inside the block, whatever is found from here."""
    token = _chosen.set(chosen)
    try:
        yield
    finally:
        _chosen.reset(token)
