"""How to connect to a Postgres server that is not the project's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from balsam.conf.postgres.url import parse
from balsam.conf.project import Project
from balsam.errors import ServerError

_NEEDS_DRIVER = (
    "A Postgres database needs the Python package psycopg; run \"pip install 'balsam[postgres]'\"."
)


def driver() -> Any:
    """The module psycopg. Raises ServerError where it is not installed."""
    try:
        import psycopg
    except ImportError as error:
        raise ServerError(_NEEDS_DRIVER) from error
    return psycopg


def libpq_version() -> int:
    """The version of the library below the driver, such as 160004; 0 without one."""
    try:
        import psycopg.pq
    except ImportError:
        return 0
    return int(psycopg.pq.version())


def parameters(project: Project) -> dict[str, Any]:
    """How to connect to the server that the settings name. Raises InvalidValue, ServerError."""
    settings = project.settings().database
    found = parse(settings.url).parameters()
    if settings.password_file:
        found["password"] = read_password(project.path / Path(settings.password_file).expanduser())
    return found


def read_password(file: Path) -> str:
    """The password in a file, which nobody else may read. Raises ServerError."""
    try:
        text = file.read_text(encoding="utf-8").strip("\r\n")
        mode = file.stat().st_mode & 0o777
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ServerError(f"The password file {file} can not be read ({reason}).") from error
    if mode & 0o077:
        raise ServerError(
            f"Others may read the password file {file} (mode {mode:04o}); type 'chmod 600 {file}'."
        )
    if not text or "\n" in text:
        raise ServerError(f"The password file {file} does not hold one line with the password.")
    return text
