"""The outcome journal: what happened, on disk before it is committed.

One file of JSON lines for each session, in the project's ``log/outcomes``. A launcher that is
killed leaves it behind; the next one replays it (see ``recovery``). A line that was cut short is
ignored.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

#: Beyond this many bytes a journal whose entries are all committed starts anew.
LARGE = 32 * 1024 * 1024

START = "start"
END = "end"
STEP = "step"


def path_of(directory: Path, session: int) -> Path:
    """The journal of a session."""
    return directory / f"session-{session}.jsonl"


_encode = json.JSONEncoder(separators=(",", ":"), default=str).encode


class Journal:
    """An open journal. Entries are in the kernel's hands when ``append`` returns.

    That survives the death of every process; it does not survive a power failure, after which
    uncommitted attempts are run again like those of a lost node.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o600)
        self._size = 0

    def append(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Write entries; raises OSError (a full disk), after which some may be missing."""
        text = "".join(_encode(entry) + "\n" for entry in entries)
        data = memoryview(text.encode())
        while data:
            written = os.write(self._file, data)
            self._size += written
            data = data[written:]

    def all_committed(self) -> None:
        """Everything written so far is in the database; a large journal starts anew."""
        if self._size > LARGE:
            os.ftruncate(self._file, 0)
            self._size = 0

    def close(self, *, keep: bool) -> None:
        """Close the journal, and remove it unless something in it was not committed."""
        os.close(self._file)
        if not keep:
            self.path.unlink(missing_ok=True)


def read(path: Path) -> list[dict[str, Any]]:
    """The entries of a journal, oldest first; none if there is no file."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    entries = []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and "kind" in entry and "job" in entry:
            entries.append(entry)
    return entries
