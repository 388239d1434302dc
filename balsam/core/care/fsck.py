"""Checks of what the database holds: the file, and the invariants of the record.

Everything is read in one transaction, so writers at work change nothing of what a check sees. Each
check is one statement for all rows; only cycles are looked for in memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from balsam.conf.bootstrap import SCHEMA_VERSION
from balsam.core.care import database_file
from balsam.core.care.invariants import MODELS, REPORT, RESTORE, RULES, Rule

#: So many of each kind are named.
EXAMPLES = 5


@dataclass(frozen=True)
class Finding:
    """What one check came to: how many rows break it, and the first few in words."""

    check: str
    says: str
    count: int = 0
    examples: tuple[str, ...] = ()
    repair: str = ""

    @property
    def sound(self) -> bool:
        return not self.count


@dataclass(frozen=True)
class Report:
    """What was found in a file; ``rows`` counts what there was to check, by table."""

    path: Path
    schema: int
    rows: dict[str, int]
    findings: tuple[Finding, ...]

    @property
    def sound(self) -> bool:
        return all(finding.sound for finding in self.findings)


def check(
    path: Path,
    *,
    timeout_seconds: float = 60.0,
    untouched: bool = False,
) -> Report:
    """Check a database file, while others may use it.

    On a file system shared between hosts (journal mode ``delete``) their commits wait meanwhile.
    Raises DatabaseUnavailable for a file that is no database, or locked.
    """
    with database_file.reading(
        path, timeout_seconds=timeout_seconds, untouched=untouched
    ) as database:
        database.execute("BEGIN")
        found = list(_findings(database))
        schema = database_file.schema_version(database)
        return Report(path, schema, _row_counts(database), tuple(found))


def _findings(database: sqlite3.Connection) -> Iterator[Finding]:
    yield _structure(database)
    yield _guarded("references", _references, database)
    schema = _guarded("tables", _tables, database)
    yield schema
    if not schema.sound:
        return
    for rule in RULES:
        yield _applied(rule, database)
    yield _guarded("cycles", _cycles, database)


def _structure(database: sqlite3.Connection) -> Finding:
    found = database_file.damage(database)
    return Finding(
        "structure",
        "the file is sound",
        len(found),
        tuple(" ".join(line.split()) for line in found[:EXAMPLES]),
        RESTORE,
    )


def _references(database: sqlite3.Connection) -> Finding:
    rows = database.execute("PRAGMA foreign_key_check")
    words = (f"{child} row {rowid} names a {parent} row" for child, rowid, parent, _ in rows)
    return _counted("references", "every row that another one names is there", words, RESTORE)


def _tables(database: sqlite3.Connection) -> Finding:
    """Whether the tables, columns and indexes are those that this Balsam works with."""
    says = "tables and indexes are those of this Balsam"
    version = database_file.schema_version(database)
    if version > SCHEMA_VERSION:
        words = f"schema {version}; this Balsam knows {SCHEMA_VERSION}, and can not check the rest"
        return Finding("tables", says, 1, (words,), "Use that newer version, or a newer one.")
    if version < SCHEMA_VERSION:
        words = f"schema {version}; this Balsam needs {SCHEMA_VERSION}"
        return Finding("tables", says, 1, (words,), "Run 'balsam init --upgrade'.")
    names = {row[0] for row in database.execute("SELECT name FROM sqlite_master")}
    return _counted("tables", says, _missing(database, names), RESTORE)


def _missing(database: sqlite3.Connection, names: set[str]) -> Iterator[str]:
    for model in MODELS:
        table = model._meta.db_table
        if table not in names:
            yield f"table {table} is missing"
            continue
        columns = {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
        for field in model._meta.concrete_fields:
            if field.column not in columns:
                yield f"column {table}.{field.column} is missing"
        for index in model._meta.indexes:
            if index.name not in names:
                yield f"index {index.name} is missing"


def _applied(rule: Rule, database: sqlite3.Connection) -> Finding:
    def apply(database: sqlite3.Connection) -> Finding:
        words = (rule.words.format(*row) for row in database.execute(rule.statement))
        return _counted(rule.check, rule.says, words, rule.repair)

    return _guarded(rule.check, apply, database)


def _cycles(database: sqlite3.Connection) -> Finding:
    edges = database.execute("SELECT child_id, parent_id FROM balsam_dependency").fetchall()
    words = (f"job {job}" for job in in_cycles(edges))
    return _counted("cycles", "no job depends on itself, directly or through others", words)


def in_cycles(edges: Collection[tuple[int, int]]) -> list[int]:
    """The jobs on a circle of (child, parent) edges, or on a way from one circle to another.

    The time is linear in the number of edges.
    """
    below = _not_reached_from_the_top(edges)
    inner = [edge for edge in edges if edge[0] in below and edge[1] in below]
    return sorted(_not_reached_from_the_top([(parent, child) for child, parent in inner]))


def _not_reached_from_the_top(edges: Iterable[tuple[int, int]]) -> set[int]:
    """The jobs left when those without a parent are taken away, again and again."""
    waiting: dict[int, int] = {}
    children: dict[int, list[int]] = {}
    for child, parent in edges:
        waiting[child] = waiting.get(child, 0) + 1
        waiting.setdefault(parent, 0)
        children.setdefault(parent, []).append(child)
    free = [job for job, parents in waiting.items() if not parents]
    while free:
        parent = free.pop()
        del waiting[parent]
        for child in children.get(parent, ()):
            waiting[child] -= 1
            if not waiting[child]:
                free.append(child)
    return set(waiting)


def _guarded(
    check: str, look: Callable[[sqlite3.Connection], Finding], database: sqlite3.Connection
) -> Finding:
    """What a check found, or that the file is too damaged for it."""
    try:
        return look(database)
    except sqlite3.DatabaseError as error:
        return Finding(check, "the check could be made", 1, (str(error),), RESTORE)


def _counted(check: str, says: str, words: Iterable[str], repair: str = REPORT) -> Finding:
    count = 0
    first: list[str] = []
    for text in words:
        count += 1
        if count <= EXAMPLES:
            first.append(text)
    return Finding(check, says, count, tuple(first), repair)


def _row_counts(database: sqlite3.Connection) -> dict[str, int]:
    counts: dict[str, int] = {}
    for model in MODELS:
        table = model._meta.db_table
        try:
            (counts[table],) = database.execute(f"SELECT count(*) FROM {table}").fetchone()
        except sqlite3.DatabaseError:
            counts[table] = 0
    return counts
