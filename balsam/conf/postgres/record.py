"""Where a project's server is: the file ``server.json``, and what of it others may read."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from balsam.conf.postgres.account import keep_owner
from balsam.conf.project import Project
from balsam.errors import ServerError


@dataclass(frozen=True)
class Record:
    """A server that was started: on which machine, as which process, and how it is reached.

    ``address`` is where it listens for other machines, empty for its socket only; ``socket_dir`` is
    empty for the database directory, wherever that is moved to. ``pid`` is 0 while it starts.
    """

    machine: str
    host: str
    port: int
    pid: int = 0
    socket_dir: str = ""
    listen: str = ""
    address: str = ""
    tls: bool = False
    tls_note: str = ""
    version: str = ""
    since: str = ""
    path: str = ""

    def socket(self, project: Project) -> Path:
        """The directory of its socket."""
        return Path(self.socket_dir) if self.socket_dir else project.database_dir


@dataclass(frozen=True)
class Published:
    """What users with an account of their own have to know: nothing secret."""

    host: str
    port: int
    database: str
    tls: bool


def read(project: Project) -> Record | None:
    """The record of the project's server; None if there is none.

    Raises ServerError if it can not be read, PermissionError if this user may not.
    """
    return _read(project.server_file, Record)


def write(project: Project, record: Record) -> None:
    """Replace the record. Raises OSError."""
    _replace(project.server_file, record, 0o600)


def published(project: Project) -> Published | None:
    """What the owner has published of a server that listens; None if it does not."""
    return _read(public_file(project), Published)


def publish(project: Project, content: Published, certificate: Path | None) -> None:
    """Let users with an account find the server, as far as they may read the project directory."""
    target = certificate_file(project)
    if certificate is not None:
        _replace_text(target, certificate.read_text(encoding="ascii"), 0o644)
    else:
        _unlink(target)
    _replace(public_file(project), content, 0o644)


def clear(project: Project) -> None:
    """Forget the server."""
    for path in (project.server_file, public_file(project), certificate_file(project)):
        _unlink(path)


def public_file(project: Project) -> Path:
    """The file that tells users with an account where the server is."""
    return project.path / "server-info"


def certificate_file(project: Project) -> Path:
    """The certificate by which they know that it is this server."""
    return project.path / "server-info.crt"


def _read(file: Path, kind: Any) -> Any:
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    known = {field.name for field in dataclasses.fields(kind)}
    try:
        return kind(**{name: value for name, value in json.loads(text).items() if name in known})
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ServerError(
            f"The file {file} does not say where the database server is ({error}); remove it and "
            "type 'balsam server reset'."
        ) from error


def _replace(file: Path, content: Any, mode: int) -> None:
    _replace_text(file, json.dumps(dataclasses.asdict(content), indent=1) + "\n", mode)


def _replace_text(file: Path, text: str, mode: int) -> None:
    """Write all or nothing: a reader sees the old file or the new one."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
    try:
        with open(descriptor, "w", encoding="utf-8") as stream:
            os.fchmod(descriptor, mode)
            stream.write(text)
            stream.flush()
            os.fsync(descriptor)
        keep_owner(Path(temporary))
        os.replace(temporary, file)
    except BaseException:
        _unlink(Path(temporary))
        raise


def _unlink(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
