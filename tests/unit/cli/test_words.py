"""Programs as people type them."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from balsam.cli.words import program_trouble, resolved_file, resolved_program
from balsam.errors import InvalidValue


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "a b"
    directory.mkdir()
    monkeypatch.chdir(directory)
    for name in ("hello.py", "my sim.py", "sim", "echo"):
        (directory / name).touch(mode=0o755)
    return directory


def test_a_python_file_gets_this_interpreter(here: Path) -> None:
    command = resolved_program("hello.py -n  'x y'", "--executable")
    assert shlex.split(command) == [sys.executable, str(here / "hello.py"), "-n", "x y"]
    assert command.endswith(" -n  'x y'")


def test_a_file_with_a_blank_in_its_name(here: Path) -> None:
    expected = [sys.executable, str(here / "my sim.py")]
    assert shlex.split(resolved_program("my sim.py", "--executable")) == expected
    assert shlex.split(resolved_program("'my sim.py' 5", "--executable")) == [*expected, "5"]


def test_a_missing_python_file_is_an_error() -> None:
    with pytest.raises(InvalidValue, match=r"--preprocess: there is no file .*nope\.py"):
        resolved_program("nope.py", "--preprocess")


def test_other_files_get_their_full_path(here: Path) -> None:
    for text in ("./sim 3", "sim 3"):
        assert shlex.split(resolved_program(text, "x")) == [str(here / "sim"), "3"]


@pytest.mark.parametrize("text", ["", "echo hello", "$HOME/sim 3", "~/sim", "nope -x"])
def test_what_is_no_file_here_stays_as_it_was_typed(text: str) -> None:
    assert resolved_program(text, "x") == text


def test_unbalanced_quotes_are_said() -> None:
    with pytest.raises(InvalidValue, match="quotes"):
        resolved_program("'echo", "--executable")


def test_programs_that_can_not_be_run_are_told_apart(here: Path) -> None:
    (here / "plain").write_text("#!/bin/sh\n")
    (here / "lost").write_text("#!/no/such/sh\n")
    (here / "lost").chmod(0o755)
    (here / "folder").mkdir()
    found = {
        "no-such-program-here -x": "neither a file here nor a program on PATH",
        "./no-such-file": "it is not there",
        "./plain 5": "it is not executable (chmod +x ",
        "./folder": "it is a directory",
        "folder": "it is a directory",
        "./sim": "its first line names no interpreter (#!)",
        "./lost": "the interpreter '/no/such/sh'",
    }
    for text, reason in found.items():
        trouble = program_trouble(text)
        assert reason in trouble and f"'{text.split()[0]}'" in trouble
    for good in (f"{shlex.quote(sys.executable)} -c pass", "sh -c true", ""):
        assert program_trouble(good) == ""


def test_files_get_their_full_path(here: Path) -> None:
    assert resolved_file("sim") == str(here / "sim")
    assert resolved_file("nope") == "nope"
    assert resolved_file("") == ""
