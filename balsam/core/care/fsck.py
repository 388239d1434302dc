"""Checks of what the database holds: its files, and the invariants of the record.

Everything is read in one transaction, so writers at work change nothing of what a check sees. Each
check is one statement for all rows; only cycles are looked for in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from balsam.conf.bootstrap import SCHEMA_VERSION
from balsam.core.care import database_file, record
from balsam.core.care.invariants import MODELS, REPORT, RESTORE, RULES, Rule
from balsam.core.care.sides import FileSide, ServerSide, Side

if TYPE_CHECKING:
    from balsam.conf.project import Project

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
    """What was found; ``rows`` counts what there was to check, by table.

    ``path`` is the file, or the project whose database is in Postgres.
    """

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
        return _report(path, FileSide(database))


def check_project(project: Project, *, timeout_seconds: float = 60.0) -> Report:
    """Check the record of a project, in whichever database it is, while others may use it.

    Raises DatabaseUnavailable, also if a server does not answer.
    """
    if not record.is_postgres(project):
        return check(project.database_file, timeout_seconds=timeout_seconds)
    from balsam.core.care import database_server

    with (
        database_server.connected(project, timeout_seconds=timeout_seconds) as second,
        database_server.reading(project, timeout_seconds=timeout_seconds) as server,
    ):
        return _report(project.path, ServerSide(server, second))


def _report(path: Path, side: Side) -> Report:
    found = list(_findings(side))
    return Report(path, side.schema, _row_counts(side), tuple(found))


def _findings(side: Side) -> Iterator[Finding]:
    yield _structure(side)
    yield _guarded("references", _references, side)
    schema = _guarded("tables", _tables, side)
    yield schema
    if not schema.sound:
        return
    for rule in RULES:
        yield _applied(rule, side)
    yield _guarded("numbering", _numbering, side)
    yield _guarded("cycles", _cycles, side)


def _structure(side: Side) -> Finding:
    found = side.damage()
    return Finding(
        "structure",
        side.sound,
        len(found),
        tuple(" ".join(line.split()) for line in found[:EXAMPLES]),
        RESTORE,
    )


def _references(side: Side) -> Finding:
    says = "every row that another one names is there"
    return _counted("references", says, side.dangling(), RESTORE)


def _tables(side: Side) -> Finding:
    """Whether the tables, columns and indexes are those that this Balsam works with."""
    says = "tables and indexes are those of this Balsam"
    version = side.schema
    if version > SCHEMA_VERSION:
        words = f"schema {version}; this Balsam knows {SCHEMA_VERSION}, and can not check the rest"
        return Finding("tables", says, 1, (words,), "Use that newer version, or a newer one.")
    if version < SCHEMA_VERSION:
        words = f"schema {version}; this Balsam needs {SCHEMA_VERSION}"
        return Finding("tables", says, 1, (words,), "Run 'balsam init --upgrade'.")
    return _counted("tables", says, _missing(side), RESTORE)


def _missing(side: Side) -> Iterator[str]:
    there, names = side.columns(), side.objects()
    for model in MODELS:
        table = model._meta.db_table
        if table not in there:
            yield f"table {table} is missing"
            continue
        for field in model._meta.concrete_fields:
            if field.column not in there[table]:
                yield f"column {table}.{field.column} is missing"
        for index in model._meta.indexes:
            if index.name not in names:
                yield f"index {index.name} is missing"
    for table in side.silent():
        yield f"the trigger of {table} that tells launchers of changes is missing"


def _applied(rule: Rule, side: Side) -> Finding:
    def apply(side: Side) -> Finding:
        words = (rule.words.format(*row) for row in side.execute(rule.statement))
        return _counted(rule.check, rule.says, words, rule.repair)

    return _guarded(rule.check, apply, side)


def _numbering(side: Side) -> Finding:
    words = (
        f"{table} has a row {newest}, and has given out {given} numbers"
        for table, newest, given in side.numbers()
    )
    return _counted("numbering", "new rows get numbers above all there are", words, RESTORE)


def _cycles(side: Side) -> Finding:
    edges = side.execute("SELECT child_id, parent_id FROM balsam_dependency").fetchall()
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


def _guarded(check: str, look: Callable[[Side], Finding], side: Side) -> Finding:
    """What a check found, or that the database is too damaged for it."""
    try:
        with side.attempt():
            return look(side)
    except side.errors as error:
        if side.lost:
            raise
        return Finding(check, "the check could be made", 1, (str(error),), RESTORE)


def _counted(check: str, says: str, words: Iterable[str], repair: str = REPORT) -> Finding:
    count = 0
    first: list[str] = []
    for text in words:
        count += 1
        if count <= EXAMPLES:
            first.append(text)
    return Finding(check, says, count, tuple(first), repair)


def _row_counts(side: Side) -> dict[str, int]:
    counts: dict[str, int] = {}
    for model in MODELS:
        table = model._meta.db_table
        try:
            with side.attempt():
                (counts[table],) = side.execute(f"SELECT count(*) FROM {table}").fetchone()
        except side.errors:
            counts[table] = 0
    return counts
