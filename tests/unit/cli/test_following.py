"""Following files: every byte once, in order, through growth, renames and new files."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.cli import following
from balsam.cli.following import Generations, Tail, Titled, kept, rest, write


class Sink:
    """A pipe that is read all the time."""

    def __init__(self) -> None:
        reader, self.fd = os.pipe()
        self.data = b""
        self._thread = threading.Thread(target=self._read, args=(reader,))
        self._thread.start()

    def _read(self, reader: int) -> None:
        with open(reader, "rb") as file:
            self.data = file.read()

    def text(self) -> bytes:
        os.close(self.fd)
        self._thread.join(30)
        return self.data


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "job.out"


def expected_tail(data: bytes, lines: int) -> bytes:
    return b"".join(data.splitlines(keepends=True)[-lines:]) if lines else b""


@given(
    data=st.lists(st.sampled_from([b"a", b"bc", b"\n"]), max_size=40).map(b"".join),
    lines=st.integers(0, 8),
    chunk=st.integers(1, 7),
)
def test_the_last_lines_are_found_from_the_end(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, lines: int, chunk: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "tail"
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch, path.open("rb") as file:
        patch.setattr(following, "CHUNK", chunk)
        start = following.last_lines(file.fileno(), len(data), lines)
    assert data[start:] == expected_tail(data, lines)


def test_a_tail_copies_what_is_new_and_nothing_twice(path: Path) -> None:
    data = bytes(range(256)) * 1000
    sink = Sink()
    path.write_bytes(data)
    tail = Tail(path)
    assert tail.grown()
    assert tail.copy(sink.fd) == len(data)
    assert not tail.grown()
    with path.open("ab") as file:
        file.write(b"more")
    os.rename(path, path.with_name("elsewhere"))
    assert tail.copy(sink.fd) == 4
    tail.close()
    assert sink.text() == data + b"more"


def test_a_file_that_was_cut_short_begins_anew(path: Path) -> None:
    sink = Sink()
    path.write_bytes(b"long text")
    tail = Tail(path)
    tail.copy(sink.fd)
    path.write_bytes(b"new")
    assert tail.grown()
    tail.copy(sink.fd)
    assert sink.text() == b"long textnew"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_only_regular_files_are_read(path: Path, make: object) -> None:
    make(path)  # type: ignore[operator]
    with pytest.raises(OSError):
        Tail(path)


def test_each_attempt_is_shown_in_its_turn(path: Path) -> None:
    sink = Sink()
    files = Generations(path)
    assert not files.look()
    path.write_bytes(b"1")
    files.copy(sink.fd)
    with path.open("ab") as file:
        file.write(b"one")
    # Two attempts come and go between two looks.
    for number, text in ((1, b"two"), (2, b"three")):
        os.rename(path, path.with_name(f"job.out.{number}"))
        path.write_bytes(text)
    files.copy(sink.fd)
    assert not files.look()
    files.close()
    assert sink.text() == b"1onetwothree"


def test_earlier_attempts_may_be_left_out_and_the_latest_shortened(path: Path) -> None:
    sink = Sink()
    path.with_name("job.out.1").write_bytes(b"old")
    path.write_bytes(b"a\nb\nc\n")
    files = Generations(path, lines=1)
    files.skip()
    files.copy(sink.fd)
    os.rename(path, path.with_name("job.out.2"))
    path.write_bytes(b"x\ny\n")
    files.copy(sink.fd)
    assert files.found
    assert sink.text() == b"c\nx\ny\n"


def test_kept_files_are_in_the_order_of_their_numbers(path: Path) -> None:
    for end in ("10", "9", "x", "1.gz"):
        path.with_name(f"job.out.{end}").touch()
    assert [number for number, _ in kept(path)] == [9, 10]
    assert kept(path.parent / "none" / "x") == []


def test_titles_are_written_when_the_file_changes(path: Path) -> None:
    sink = Sink()
    path.write_bytes(b"a\n")
    other = path.with_name("other")
    other.write_bytes(b"b\n")
    screen, first, second = Titled(sink.fd, titles=True), Tail(path), Tail(other)
    screen.copy(first, "one")
    screen.copy(first, "one")
    screen.copy(second, "two")
    assert sink.text() == b"==> one <==\na\n\n==> two <==\nb\n"


def test_a_reader_who_left_is_noticed_without_writing() -> None:
    reader, writer = os.pipe()
    rest(writer, 0.001)
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        rest(writer, 30)
    with pytest.raises(BrokenPipeError):
        write(writer, b"x")
    os.close(writer)


def test_a_descriptor_that_does_not_block_takes_all_the_same() -> None:
    sink = Sink()
    os.set_blocking(sink.fd, False)
    write(sink.fd, b"x" * 1_000_000)
    assert sink.text() == b"x" * 1_000_000
