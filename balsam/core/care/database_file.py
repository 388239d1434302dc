"""The database file itself, opened without Django to be looked at: nothing is changed by that.

For whoever takes care of a project that may be damaged, read-only, locked or of another version.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from balsam.errors import DatabaseUnavailable

#: What SQLite keeps beside a database file while it is in use, or after a crash.
SIDECARS = ("-wal", "-shm", "-journal")

#: How a file is opened: so that a crash is recovered from, without writing, or as it lies there.
_MODES = ("mode=rw", "mode=ro", "immutable=1")
_NOT_WRITABLE = ("readonly", "read-only", "unable to open", "disk I/O error")
_WAL_HEADER = b"\x02\x02"
_WRITE_VERSION = slice(18, 20)


@contextlib.contextmanager
def reading(
    path: Path, *, timeout_seconds: float = 10.0, untouched: bool = False
) -> Iterator[sqlite3.Connection]:
    """A connection that reads the database and refuses to write.

    ``untouched`` keeps SQLite from finishing what a crashed writer began, as a file that is no
    project's own deserves. Raises DatabaseUnavailable.
    """
    connection = _opened(path, timeout_seconds, _MODES[1:] if untouched else _MODES)
    try:
        yield connection
    except sqlite3.Error as error:
        raise unreadable(path, error) from error
    finally:
        connection.close()


def unreadable(path: Path, error: sqlite3.Error) -> DatabaseUnavailable:
    """What to say when SQLite can not read a file."""
    if "locked" in str(error):
        return DatabaseUnavailable(
            f"The database {path} is locked by another process; try again when that is done."
        )
    damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(
        error, sqlite3.OperationalError
    )
    advice = "put a backup in its place with 'balsam restore FILE'"
    if not damaged:
        advice = "check that the file and its directory are readable for you and the disk is sound"
    return DatabaseUnavailable(f"The database {path} can not be read ({error}); {advice}.")


def _opened(path: Path, timeout_seconds: float, modes: Sequence[str]) -> sqlite3.Connection:
    path = path.absolute()
    try:
        if not path.is_file():
            raise DatabaseUnavailable(f"There is no database file {path}.")
    except OSError as error:
        raise DatabaseUnavailable(
            f"The database {path} can not be read ({error.strerror}); check the permissions of its "
            "directory."
        ) from error
    failure: sqlite3.Error | None = None
    for mode in modes:
        if mode == "immutable=1" and _has_content(path.with_name(path.name + "-wal")):
            continue  # what is in the log would not be seen
        try:
            return _connected(f"{path.as_uri()}?{mode}", timeout_seconds)
        except sqlite3.Error as error:
            failure = failure or error
            if not any(sign in str(error) for sign in _NOT_WRITABLE):
                break
    assert failure is not None
    raise unreadable(path, failure) from failure


def _connected(uri: str, timeout_seconds: float) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=timeout_seconds, isolation_level=None)
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def sides(file: Path) -> list[Path]:
    """The files that may lie beside a database."""
    return [file.with_name(file.name + tail) for tail in SIDECARS]


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


# -- questions ----------------------------------------------------------------------------------


def schema_version(connection: sqlite3.Connection) -> int:
    """The schema number that the file carries; 0 in a database that is not Balsam's."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def is_balsam(connection: sqlite3.Connection) -> bool:
    """Whether the tables of the record are there."""
    names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    return {"balsam_job", "balsam_event", "balsam_session"} <= names


def damage(connection: sqlite3.Connection, *, quick: bool = False, most: int = 20) -> list[str]:
    """What SQLite finds wrong with the structure of the file; nothing if it is sound."""
    pragma = "quick_check" if quick else "integrity_check"
    try:
        found = [str(row[0]) for row in connection.execute(f"PRAGMA {pragma}({most})")]
    except sqlite3.DatabaseError as error:
        if "locked" in str(error):
            raise
        return [str(error)]
    return [] if found == ["ok"] else found


def header_says_wal(path: Path) -> bool:
    """Whether the file itself asks for a write-ahead log (https://sqlite.org/fileformat2.html)."""
    with path.open("rb") as stream:
        return stream.read(_WRITE_VERSION.stop)[_WRITE_VERSION] == _WAL_HEADER


def numbers(connection: sqlite3.Connection) -> dict[str, int]:
    """Table -> the last number that was given out."""
    return dict(connection.execute("SELECT name, max(seq) FROM sqlite_sequence GROUP BY name"))


def go_on_behind(file: Path, given: dict[str, int]) -> None:
    """Have no number given out again in ``file`` that was given out elsewhere."""
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as database:
        here = numbers(database)
        there = {row[0] for row in database.execute("SELECT name FROM sqlite_master")}
        for table, number in given.items():
            if table in there and number > here.get(table, 0):
                database.execute("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
                database.execute("INSERT INTO sqlite_sequence VALUES (?, ?)", (table, number))


def schema_text(connection: sqlite3.Connection) -> str:
    """The statements that made the tables."""
    rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
    return "".join(f"{row[0]};\n" for row in rows)
