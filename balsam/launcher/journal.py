"""The outcome journal: what happened, on disk before it is committed.

One file of JSON lines for each session, in the project's ``log/outcomes``. A launcher that is
killed leaves it behind; the next one replays it (see ``recovery``). A line that was cut short is
ignored.
"""

from __future__ import annotations

import contextlib
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
#: What stands before this line is in the database.
COMMITTED = "committed"


def path_of(directory: Path, session: int) -> Path:
    """The journal of a session."""
    return directory / f"session-{session}.jsonl"


_MARK = f'{{"kind":"{COMMITTED}"}}\n'.encode()
_encode = json.JSONEncoder(separators=(",", ":"), default=str).encode


class Journal:
    """An open journal. Entries are in the kernel's hands when ``append`` returns.

    That survives the death of every process; it does not survive a power failure, after which
    uncommitted attempts are run again like those of a lost node.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        # A database restored from a backup gives out a session's number again: begin anew.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o600)
        self._size = 0
        self._torn = False

    def append(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Write entries; raises OSError (a full disk), after which some may be missing."""
        text = "".join(_encode(entry) + "\n" for entry in entries)
        self._write(text.encode())

    def _write(self, text: bytes) -> None:
        # What follows a line that was cut short must not be read as part of it.
        data = memoryview(b"\n" + text if self._torn else text)
        self._torn = True
        while data:
            written = os.write(self._file, data)
            self._size += written
            data = data[written:]
        self._torn = False

    def all_committed(self) -> None:
        """Everything written so far is in the database, and must not be replayed.

        Its jobs may come to where they were again, sent there by a user.
        """
        if not self._size:
            return
        with contextlib.suppress(OSError):
            if self._size > LARGE:
                os.ftruncate(self._file, 0)
                self._size = 0
            else:
                self._write(_MARK)

    def close(self, *, keep: bool) -> None:
        """Close the journal, and remove it unless something in it was not committed."""
        os.close(self._file)
        if not keep:
            self.path.unlink(missing_ok=True)


def refusal(path: Path) -> OSError | None:
    """Why one may not read a journal, such as another user's; None if one may, or there is none."""
    try:
        path.open("rb").close()
    except FileNotFoundError:
        return None
    except OSError as error:
        return error
    return None


def read(path: Path) -> list[dict[str, Any]]:
    """The entries that may not be in the database yet, oldest first; none without a file."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    entries: list[dict[str, Any]] = []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if not isinstance(entry, dict):
            continue
        if entry.get("kind") == COMMITTED:
            entries.clear()
        elif "kind" in entry and "job" in entry:
            entries.append(entry)
    return entries
