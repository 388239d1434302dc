"""Copies: whole or not at all, and every failure names its file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from balsam.errors import TransferError
from balsam.platform import transfer


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "source"
    (directory / "sub").mkdir(parents=True)
    for name in ("a.dat", "b.dat", "with space.txt", "sub/deep.dat", ".hidden"):
        (directory / name).write_text(name)
    return directory


@pytest.fixture
def work(tmp_path: Path) -> Path:
    directory = tmp_path / "work"
    directory.mkdir()
    return directory


@pytest.mark.parametrize("prefix", ["", "local:", "local://", "file://", "file://localhost"])
def test_copy_in_by_path_and_url(source: Path, work: Path, prefix: str) -> None:
    assert transfer.copy_in(f"{prefix}{source}/*.dat", work) == ["a.dat", "b.dat"]
    assert sorted(os.listdir(work)) == ["a.dat", "b.dat"]


def test_copy_in_keeps_metadata_and_takes_directories(source: Path, work: Path) -> None:
    (source / "a.dat").chmod(0o640)
    os.utime(source / "a.dat", (1e9, 1e9))
    transfer.copy_in(str(source), work)
    copied = (work / "source" / "a.dat").stat()
    assert (copied.st_mode & 0o777, copied.st_mtime) == (0o640, 1e9)
    assert (work / "source" / "sub" / "deep.dat").read_text() == "sub/deep.dat"


def test_quoted_and_percent_encoded_names(source: Path, work: Path) -> None:
    transfer.copy_in(f"'{source}/with space.txt'", work)
    (work / "with space.txt").unlink()
    transfer.copy_in(f"file://{source}/with%20space.txt", work)
    assert (work / "with space.txt").exists()


def test_a_name_with_glob_characters_is_taken_literally(source: Path, work: Path) -> None:
    (source / "m[1].npy").write_text("m")
    assert transfer.copy_in(f"{source}/m[1].npy", work) == ["m[1].npy"]
    assert transfer.find(source, "m[1].npy") == ["m[1].npy"]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("/no/such/file", "'/no/such/file' does not exist"),
        ("local:/no/such/*.dat", "does not exist"),
        ("gsiftp://host/x", "can not move files by 'gsiftp'; use an absolute path, local:"),
        ("file://elsewhere.example/x", "host 'elsewhere.example'"),
        ("data/x", "not an absolute path"),
        ("'/a", "No closing quotation"),
    ],
)
def test_what_can_not_be_copied_in_is_named(work: Path, url: str, reason: str) -> None:
    with pytest.raises(TransferError) as caught:
        transfer.copy_in(url, work)
    assert reason in str(caught.value)


def test_links_are_followed_but_not_in_circles(source: Path, work: Path) -> None:
    (source / "sub" / "up").symlink_to("..")
    (source / "sub" / "dead").symlink_to("nowhere")
    (source / "sub" / "link.dat").symlink_to("../a.dat")
    transfer.copy_in(f"{source}/sub", work)
    copied = work / "sub"
    assert (copied / "link.dat").read_text() == "a.dat" and not (copied / "link.dat").is_symlink()
    assert os.readlink(copied / "dead") == "nowhere"
    assert os.readlink(copied / "up") == ".."


def test_circles_through_two_trees_end(source: Path, work: Path) -> None:
    other = source.parent / "other"
    other.mkdir()
    (other / "back").symlink_to(source / "sub")
    (source / "sub" / "away").symlink_to(other)
    transfer.copy_in(f"{source}/sub", work)
    assert os.readlink(work / "sub" / "away" / "back") == str(source / "sub")


def test_never_writes_through_a_link_in_the_work_directory(source: Path, work: Path) -> None:
    parent = source.parent / "parent"
    (parent / "sub").mkdir(parents=True)
    (parent / "a.dat").write_text("the parent's")
    (work / "a.dat").symlink_to(parent / "a.dat")
    (work / "sub").symlink_to(parent / "sub")
    transfer.copy_in(f"{source}/a.dat {source}/sub", work)
    assert (parent / "a.dat").read_text() == "the parent's"
    assert os.listdir(parent / "sub") == []
    assert (work / "a.dat").read_text() == "a.dat"


def test_a_failed_copy_leaves_nothing_behind(source: Path, work: Path) -> None:
    (work / "a.dat").mkdir()
    with pytest.raises(TransferError, match=r"a\.dat'.*directory"):
        transfer.copy_in(f"{source}/a.dat", work)
    assert os.listdir(work) == ["a.dat"]


def test_leftovers_of_an_interrupted_copy_are_removed(source: Path, work: Path) -> None:
    (work / "sub").mkdir()
    for directory in (work, work / "sub"):
        (directory / f"{transfer.PARTIAL_PREFIX}1-0").write_text("half")
    transfer.copy_in(f"{source}/a.dat {source}/sub", work)
    assert sorted(os.listdir(work)) == ["a.dat", "sub"]
    assert os.listdir(work / "sub") == ["deep.dat"]


def test_a_directory_is_not_copied_into_itself(work: Path) -> None:
    (work / "inner").mkdir()
    with pytest.raises(TransferError, match="into itself"):
        transfer.copy_in(str(work), work / "inner")


def test_no_fifo_is_waited_for(source: Path, work: Path) -> None:
    os.mkfifo(source / "pipe")
    with pytest.raises(TransferError, match="neither a file nor a directory"):
        transfer.copy_in(f"{source}/pipe", work)


def test_same_names_from_two_places_are_refused(source: Path, work: Path) -> None:
    (source / "sub" / "a.dat").write_text("other")
    with pytest.raises(TransferError, match="would both become"):
        transfer.copy_in(f"{source}/a.dat {source}/sub/a.dat", work)


def test_copy_out_makes_its_target_and_copies_directories(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "results" / "run 1"
    assert transfer.copy_out(source, "a.* sub", f"file://{target}") == ["a.dat", "sub"]
    assert (target / "sub" / "deep.dat").exists()
    assert transfer.copy_out(source, "a.* sub", f"file://{target}") == ["a.dat", "sub"]


def test_copy_out_of_nothing_is_no_error(source: Path, tmp_path: Path) -> None:
    assert transfer.copy_out(source, "*.none", str(tmp_path / "t")) == []


@pytest.mark.parametrize("pattern", ["../*", "/etc/passwd", "sub/../../x"])
def test_patterns_stay_in_their_directory(source: Path, pattern: str) -> None:
    with pytest.raises(TransferError, match="leads out of"):
        transfer.find(source, pattern)


def test_find_lists_each_name_once_and_no_dot_files(source: Path) -> None:
    assert transfer.find(source, "b* *.dat sub") == ["b.dat", "a.dat", "sub"]
    assert ".hidden" not in transfer.find(source, "*")
    assert transfer.find(source / "missing", "*") == []
