"""The projects of this user, in ``~/.balsam/projects.json``: the only thing written in HOME.

It is a convenience for ``balsam which``: what goes wrong with it is logged and stops nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from balsam import errors
from balsam.conf import undoable
from balsam.conf.project import Project

logger = logging.getLogger(__name__)

#: How long to wait for another process that is writing.
LOCK_SECONDS = 5.0
_LOCK_POLL_SECONDS = 0.01

Names = dict[str, list[Path]]


def add(project: Project) -> None:
    """Record a project under its name; an older entry for the same directory is replaced."""

    def change(names: Names) -> None:
        _drop(names, project.path)
        names.setdefault(project.name, []).append(project.path)

    _update(change)


def remove(path: Path) -> None:
    """Forget the project in ``path``, if it is recorded."""
    _update(lambda names: _drop(names, Path(os.path.realpath(path))))


def projects() -> Names:
    """Every recorded name with its directories, whether they still exist or not."""
    try:
        return _read(_directory() / "projects.json")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        logger.warning("The registry of projects can not be read: %s", error)
        return {}


def _directory() -> Path:
    """``~/.balsam``, by HOME as it is now. Raises OSError if there is no home."""
    home = os.path.expanduser("~")
    if not os.path.isabs(home):
        raise FileNotFoundError("HOME is not an absolute path")
    return Path(home, ".balsam")


def _update(change: Callable[[Names], None]) -> None:
    try:
        directory = _directory()
        directory.mkdir(mode=0o700, exist_ok=True)
        directory.chmod(0o700)
        with _locked(directory / "projects.lock"):
            _change(directory / "projects.json", change)
    except (OSError, ValueError, errors.ProjectError) as error:
        logger.warning("The registry of projects was not updated: %s", error)


def _change(file: Path, change: Callable[[Names], None]) -> None:
    try:
        names = _read(file)
    except FileNotFoundError:
        names = {}
    except ValueError as error:
        aside = file.with_suffix(".json.unreadable")
        logger.warning("%s; it is kept as %s, and a new registry begun.", error, aside)
        file.replace(aside)
        names = {}
    change(names)
    _replace(file, names)


def _read(file: Path) -> Names:
    """Raises ValueError if the file holds something else, FileNotFoundError or OSError."""
    try:
        content = json.loads(file.read_bytes())
        return {str(name): [Path(_text(path)) for path in paths] for name, paths in content.items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{file} is not a registry of projects ({error})") from error


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a path")
    return value


def _drop(names: Names, path: Path) -> None:
    for name in list(names):
        names[name] = [other for other in names[name] if other != path]
        if not names[name]:
            del names[name]


def _replace(file: Path, names: Names) -> None:
    """Write all or nothing: a reader sees the old file or the new one. Mode 0600."""
    content = {name: [str(path) for path in paths] for name, paths in sorted(names.items())}
    with undoable.replacing(file, ".projects-") as stream:
        stream.write(json.dumps(content, indent=1).encode())


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Keep other writers out. Raises TimeoutError (an OSError) if one stays too long."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        give_up = time.monotonic() + LOCK_SECONDS
        while not _try_lock(descriptor):
            if time.monotonic() > give_up:
                raise TimeoutError(f"{file} stays locked by another process")
            time.sleep(_LOCK_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
