"""What commands print: tables, records, trees, JSON and CSV, in one hand.

Functions take plain values and give lines, so that every command and every listing looks the same.
"""

from __future__ import annotations

import csv
import itertools
import json
import os
import shutil
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from balsam.errors import RecordError

Row = Sequence[Any]
LABEL_WIDTH = 32
RECORD_RULE = "-" * 46
HISTORY_RULE = "-" * 48
APP_RULE = "-" * 23
STATE_WIDTH = 16
TREE_STEP = 5
LINES_AT_ONCE = 1000
#: Of the jobs that were skipped.
MOST_NAMED = 10


def emit(lines: Iterable[str]) -> None:
    """Print lines to stdout."""
    stream = iter(lines)
    # With PYTHONUNBUFFERED, which many containers set, each line would be a system call.
    while piece := list(itertools.islice(stream, LINES_AT_ONCE)):
        sys.stdout.write("\n".join(piece) + "\n")


def page(lines: Iterable[str]) -> None:
    """Print lines to stdout, through the pager where they fill more than the terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        emit(lines)
        return
    import click

    height = shutil.get_terminal_size().lines - 1
    stream = iter(lines)
    first = list(itertools.islice(stream, height + 1))
    if len(first) <= height:
        emit(first)
        return
    # Colours pass, short text stays on the screen; a LESS of one's own is left alone.
    os.environ.setdefault("LESS", "FRX")
    click.echo_via_pager(f"{line}\n" for line in itertools.chain(first, stream))


def note(text: str) -> None:
    """Say something beside the result: on stderr, so that pipes carry only the result.

    Where both go to one file, it comes after what was printed before it.
    """
    try:
        sys.stdout.flush()
    finally:
        # Names may hold anything; lines are ours.
        print("\n".join(map(cell, text.split("\n"))), file=sys.stderr)


def refuse_nothing(kind: str, hint: str = "") -> NoReturn:
    """Say that a command had nothing to work on. Raises RecordError."""
    raise RecordError(f"No {kind} found matching query{'; ' + hint if hint else ''}.")


def skipped(labels: Sequence[str], why: str) -> None:
    """Name the jobs that a command left alone, on stderr."""
    if labels:
        more = len(labels) - MOST_NAMED
        named = ", ".join(cell(label) for label in labels[:MOST_NAMED])
        note(f"Skipped {len(labels)} ({why}): {named}{f' and {more} more' if more > 0 else ''}")


def cell(value: object) -> str:
    """A value on one line; characters that would move the cursor are spelled out."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else _plain(value)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def program(command: str) -> str:
    """A command or application name with the directories taken off every word."""
    return " ".join(os.path.basename(word) or word for word in command.split())


def table(columns: Sequence[str], rows: Iterable[Row]) -> Iterator[str]:
    """Columns fitted to their widest value: headers to the right, values to the left."""
    cells = [[cell(value) for value in row] for row in rows]
    widths = [
        max([len(name), *(len(row[index]) for row in cells)]) for index, name in enumerate(columns)
    ]
    header = " | ".join(name.rjust(width) for name, width in zip(columns, widths, strict=True))
    yield header
    yield "-" * len(header)
    for row in cells:
        yield " | ".join(
            value.ljust(width) for value, width in zip(row, widths, strict=True)
        ).rstrip()


def labelled(pairs: Iterable[tuple[str, object]]) -> Iterator[str]:
    """``name:`` padded to its column, then the value."""
    for name, value in pairs:
        text = cell(value)
        yield f"{name + ':':<{LABEL_WIDTH}}{text}" if text else f"{name}:"


def job_record(
    job_id: object, fields: Iterable[tuple[str, object]], command: str, directory: object
) -> Iterator[str]:
    """A whole job, one field a line, and what would be executed where."""
    yield f"BalsamJob {job_id}"
    yield RECORD_RULE
    yield from labelled(fields)
    yield from labelled(
        [("  *** Executed command", command), ("  *** Working directory", directory)]
    )


def app_record(key: object, fields: Iterable[tuple[str, object]]) -> Iterator[str]:
    """A whole application, one field a line."""
    yield f"Application {key}:"
    yield APP_RULE
    yield from labelled(fields)


def history(name: str, job_id: object, text: str) -> Iterator[str]:
    """The changes of one job's state."""
    yield f"Job {cell(name)} [{job_id}]"
    yield HISTORY_RULE
    for line in text.strip().splitlines():
        yield cell(line.replace("\t", "    "))
    yield ""


def state_counts(counts: Mapping[str, int]) -> Iterator[str]:
    """How many jobs are in each state."""
    for state, count in counts.items():
        yield f"{state:>{STATE_WIDTH}}  {count}"


def tree_line(depth: int, name: str, cute_id: str, state: str) -> str:
    """One job below its parents."""
    return f"{'|' * depth}{' ' * (TREE_STEP * depth)}{cell(name):<10} {cell(cute_id)} {state}"


def print_json(records: Iterable[Mapping[str, Any]]) -> None:
    """A JSON array, one record a line, written as the records come."""
    encode = json.JSONEncoder(default=_plain).encode
    lead = "["
    for record in records:
        sys.stdout.write(f"{lead}\n{encode(record)}")
        lead = ","
    print("[]" if lead == "[" else "\n]")


def print_csv(columns: Sequence[str], records: Iterable[Mapping[str, Any]]) -> None:
    """CSV with a header line; what is no text is written as JSON."""
    print_csv_rows(columns, ([record[name] for name in columns] for record in records))


def print_csv_rows(columns: Sequence[str], rows: Iterable[Row]) -> None:
    """The same from rows of values."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_flat(value) for value in row] for row in rows)


_encode = json.JSONEncoder(default=str, ensure_ascii=False).encode
_AS_THEY_ARE = (str, int, float, uuid.UUID)


def _flat(value: object) -> object:
    return value if type(value) in _AS_THEY_ARE else "" if value is None else _plain(value)


def _plain(value: object) -> str:
    """Text for a value that JSON does not know: times in ISO 8601, identities spelled out."""
    if type(value) in (int, float):
        return str(value)
    if isinstance(value, (dict, list, tuple, bool)):
        return _encode(value)
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    return str(value)
