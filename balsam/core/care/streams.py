"""Tables read from either database and written to the other, a few thousand rows at a time.

Whatever passes is summed up on the way: rows in the order of their ids, in the one spelling of
``cells``, so that what was written can be read again and compared.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from balsam.core.care.cells import CANONICAL, EXPRESSIONS, FROM_SQLITE, Cells, Unfit, to_sqlite
from balsam.core.care.tables import Column, Layout
from balsam.errors import DatabaseUnavailable, InvalidValue

#: Rows that are in memory at a time.
CHUNK = 2000

#: The cells of some rows, column by column.
Chunk = list[Cells]


@dataclass
class Sum:
    """The number of rows of a table, and a checksum of all that is in them."""

    rows: int = 0
    _digest: Any = field(default_factory=hashlib.sha256)

    def add(self, columns: Sequence[Column], chunk: Chunk) -> None:
        """Count some rows in. Raises Unfit."""
        spelled = [
            _converted(column, CANONICAL[column.kind], cells)
            for column, cells in zip(columns, chunk, strict=True)
        ]
        self._digest.update(lines(spelled))
        self.rows += len(chunk[0])

    @property
    def found(self) -> tuple[int, str]:
        """What is compared: the count and the checksum."""
        return self.rows, self._digest.hexdigest()


Sums = dict[str, tuple[int, str]]


class UnfitCell(InvalidValue):
    """A value in a column that the other database can not hold; ``position`` is that of its row."""

    def __init__(self, column: str, error: Unfit) -> None:
        super().__init__(f"{column} {error}")
        self.column = column
        self.why = str(error)
        self.position = error.position


def _converted(column: Column, convert: Any, values: Any) -> Any:
    try:
        return convert(values)
    except Unfit as error:
        raise UnfitCell(column.name, error) from error


def lines(chunk: Chunk) -> bytes:
    """Columns of cells as lines."""
    return ("\n".join(map("\t".join, zip(*chunk, strict=True))) + "\n").encode()


# -- one side and the other ---------------------------------------------------------------------


def from_server(server: Any, table: str, columns: Sequence[Column]) -> Iterator[Chunk]:
    """The rows of a table in Postgres."""
    chosen = ", ".join(EXPRESSIONS[one.kind].format(f'"{one.name}"') for one in columns)
    statement = f"COPY (SELECT {chosen} FROM {table} ORDER BY id) TO STDOUT"
    with server.cursor() as cursor, cursor.copy(statement) as copy:
        rows = iter(copy)
        while block := list(islice(rows, CHUNK)):
            text = b"".join(block).decode()
            chunk = list(zip(*(line.split("\t") for line in text[:-1].split("\n")), strict=True))
            yield [
                CANONICAL["time"](cells) if column.kind == "time" else cells
                for column, cells in zip(columns, chunk, strict=True)
            ]


def to_server(server: Any, table: str, columns: Sequence[Column], chunks: Iterable[Chunk]) -> None:
    """Add rows to a table in Postgres."""
    names = ", ".join(f'"{column.name}"' for column in columns)
    with server.cursor() as cursor, cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
        for chunk in chunks:
            copy.write(lines(chunk))


def from_file(
    database: sqlite3.Connection, table: str, columns: Sequence[Column]
) -> Iterator[Chunk]:
    """The rows of a table in SQLite. Raises InvalidValue for one that Postgres can not hold."""
    names = ", ".join(f'"{column.name}"' for column in columns)
    cursor = database.execute(f"SELECT {names} FROM {table} ORDER BY id")
    key = [column.name for column in columns].index("id")
    while rows := cursor.fetchmany(CHUNK):
        values = list(zip(*rows, strict=True))
        try:
            yield [
                _converted(column, FROM_SQLITE[column.kind], part)
                for column, part in zip(columns, values, strict=True)
            ]
        except UnfitCell as error:
            raise _named(table, values[key][error.position], error) from error


def to_file(
    database: sqlite3.Connection, table: str, columns: Sequence[Column], chunks: Iterable[Chunk]
) -> None:
    """Add rows to a table in SQLite."""
    names = ", ".join(f'"{column.name}"' for column in columns)
    marks = ", ".join("?" * len(columns))
    for chunk in chunks:
        parts = (
            to_sqlite(column.kind, cells) for column, cells in zip(columns, chunk, strict=True)
        )
        database.executemany(
            f"INSERT INTO {table} ({names}) VALUES ({marks})", zip(*parts, strict=True)
        )


def _named(table: str, row: object, error: UnfitCell) -> InvalidValue:
    return InvalidValue(
        f"{table}.{error.column} of row {row} {error.why}; change that value, and try again."
    )


# -- sums ---------------------------------------------------------------------------------------


def summed(
    table: str, columns: Sequence[Column], chunks: Iterable[Chunk], total: Sum
) -> Iterator[Chunk]:
    """Pass rows on, counting them in."""
    key = [column.name for column in columns].index("id")
    for chunk in chunks:
        try:
            total.add(columns, chunk)
        except UnfitCell as error:
            raise _named(table, chunk[key][error.position], error) from error
        yield chunk


def sum_of(table: str, columns: Sequence[Column], chunks: Iterable[Chunk]) -> tuple[int, str]:
    """The sum of all rows."""
    total = Sum()
    for _ in summed(table, columns, chunks, total):
        pass
    return total.found


def file_sums(database: sqlite3.Connection, layout: Layout) -> Sums:
    """Table -> its sum, in SQLite."""
    return {
        table: sum_of(table, columns, from_file(database, table, columns))
        for table, columns in layout.items()
    }


def server_sums(server: Any, layout: Layout) -> Sums:
    """Table -> its sum, in Postgres."""
    return {
        table: sum_of(table, columns, from_server(server, table, columns))
        for table, columns in layout.items()
    }


def need_same(before: Sums, after: Sums) -> None:
    """Raises DatabaseUnavailable if what was written is not what was read."""
    for table, (rows, digest) in before.items():
        found, other = after.get(table, (0, ""))
        if (found, other) != (rows, digest):
            how = f"{found} rows of {rows}" if found != rows else "other content"
            raise DatabaseUnavailable(
                f"The copy of the table {table} has {how}, so it was not kept; check the disk, and "
                "report this with 'balsam bug-report' if it happens again."
            )
