"""The outcome journal: what was written is read, however the writing ended."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.launcher import journal

Entries = list[dict[str, Any]]


def entry(number: int) -> dict[str, Any]:
    return {"kind": journal.END, "job": number, "message": f"lines\nand ümläuts {number}"}


def written(path: Path, *batches: Entries) -> journal.Journal:
    book = journal.Journal(path)
    for batch in batches:
        book.append(batch)
    return book


def test_entries_come_back_in_order(tmp_path: Path) -> None:
    path = journal.path_of(tmp_path / "new", 7)
    written(path, [entry(1), entry(2)], [entry(3)]).close(keep=True)
    assert journal.read(path) == [entry(1), entry(2), entry(3)]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_disk_that_fails_after_a_commit_is_not_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was committed is only said to be so: it would be replayed, and found to be there."""

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    path = tmp_path / "j"
    book = written(path, [entry(1)])
    monkeypatch.setattr(os, "ftruncate", fail)
    monkeypatch.setattr(journal, "LARGE", 1)
    book.all_committed()
    book.append([entry(2)])
    book.close(keep=True)
    assert journal.read(path) == [entry(1), entry(2)]


def test_a_journal_that_is_not_needed_goes(tmp_path: Path) -> None:
    path = tmp_path / "j"
    written(path, [entry(1)]).close(keep=False)
    assert journal.read(path) == []
    assert not path.exists()


@given(cut=st.integers(0, 400))
def test_a_cut_anywhere_loses_only_what_was_cut(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut"
    entries = [entry(number) for number in range(4)]
    written(path, entries).close(keep=True)
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    left = whole[:cut].count(b"\n")
    if cut < len(whole) and whole[cut : cut + 1] == b"\n":
        left += 1  # only the end of the line is missing
    assert journal.read(path) == entries[:left]


def test_lines_of_others_are_no_entries(tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.write_bytes(b'[]\n7\n{"kind": "end"}\n\xff\xfe\n{"kind": "end", "job": 1}\n')
    assert journal.read(path) == [{"kind": "end", "job": 1}]


def test_what_is_committed_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "j"
    book = written(path, [entry(1)])
    book.all_committed()
    book.append([entry(2)])
    book.close(keep=True)
    assert journal.read(path) == [entry(2)]


def test_a_large_journal_starts_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "LARGE", 100)
    path = tmp_path / "j"
    book = written(path, [entry(number) for number in range(10)])
    book.all_committed()
    assert path.stat().st_size == 0
    book.append([entry(11)])
    book.close(keep=True)
    assert journal.read(path) == [entry(11)]


def test_an_older_journal_of_the_same_number_is_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "j"
    written(path, [entry(1)]).close(keep=True)
    written(path, [entry(2)]).close(keep=True)
    assert journal.read(path) == [entry(2)]


@pytest.fixture
def small_files() -> Iterator[int]:
    """Files of this process may have so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, before[1]))
    yield 200
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_disk_that_was_full_for_a_while_spoils_no_later_entry(
    tmp_path: Path, small_files: int
) -> None:
    path = tmp_path / "j"
    batch = [entry(number) for number in range(4)]
    book = journal.Journal(path)
    with pytest.raises(OSError):
        book.append(batch)
    assert path.stat().st_size == small_files
    os.truncate(path, 150)  # room again, behind a line that was cut short
    with pytest.raises(OSError):
        book.append(batch)
    resource.setrlimit(resource.RLIMIT_FSIZE, resource.getrlimit(resource.RLIMIT_FSIZE)[1:] * 2)
    book.append(batch)
    book.close(keep=True)
    read = journal.read(path)
    assert read[-4:] == batch
    assert all(one in batch for one in read)
