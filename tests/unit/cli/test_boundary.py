"""Every exception becomes one sentence and an exit code."""

from __future__ import annotations

import shlex
import sqlite3
import subprocess
import sys

import click
import pytest

from balsam.cli.boundary import explain, guarded, run
from balsam.cli.commands import Invocation
from balsam.errors import AmbiguousId, BalsamError, SchemaTooOld


class OperationalError(Exception):
    """Shaped as Django's: raised from the driver's."""


def fail_with(error: BaseException, cause: BaseException | None = None) -> int:
    def call() -> int:
        raise error from cause

    return guarded(call, Invocation())


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (BalsamError("The job is gone"), 1, "The job is gone.\n"),
        (BalsamError("The job is gone (or moved)"), 1, "The job is gone (or moved).\n"),
        (BalsamError("No 'x'; did you mean 'y'?."), 1, "No 'x'; did you mean 'y'?\n"),
        (AmbiguousId(), 1, "More than one job matches an abbreviated id.\n"),
        (SchemaTooOld("Run it!"), 1, "Run it!\n"),
        (click.UsageError("No such thing"), 2, "No such thing. See 'balsam --help'.\n"),
        (click.ClickException("Not now"), 1, "Not now.\n"),
        (BalsamError("There is no file a\nb"), 1, "There is no file a\\nb.\n"),
        (KeyboardInterrupt(), 130, "Interrupted.\n"),
        (PermissionError(13, "Permission denied", "/x/y"), 1, "/x/y: Permission denied.\n"),
        (KeyError("a\nb"), 1, "Unexpected KeyError"),
    ],
)
def test_codes_and_sentences(
    error: BaseException, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fail_with(error) == code
    shown = capsys.readouterr()
    assert words in shown.err
    assert len(shown.err.splitlines()) == 1
    assert shown.out == ""


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("attempt to write a readonly database", "permissions"),
        ("database or disk is full", "free some space"),
        ("database is locked", "run the command again"),
        ("disk I/O error", "free some space"),
        ("database disk image is malformed", "balsam restore FILE"),
        ("file is not a database", "balsam fsck"),
        ("unable to open database file", "mounted for writing"),
        ("something new", "check its disk"),
    ],
)
def test_the_database_driver_speaks_through_django(text: str, advice: str) -> None:
    error = OperationalError(text)
    error.__cause__ = sqlite3.OperationalError(text)
    sentence = explain(error)
    assert text in sentence
    assert advice in sentence
    assert "Unexpected" not in sentence


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_streams_are_no_defect(closed: str) -> None:
    """What is opened later does not get the number of the stream that is missing."""
    script = (
        "import os, sys\n"
        "from balsam.cli.boundary import run\n"
        "code = run('balsam', ['--version'])\n"
        "file = os.open('/dev/zero', os.O_RDONLY)\n"
        "sys.exit(code or (file if file <= 2 else 0))\n"
    )
    line = f"exec {shlex.quote(sys.executable)} -c {shlex.quote(script)} {closed}"
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("db", "Missing argument 'copy'. Choose from: copy. See 'balsam db --help'."),
        (
            "db copy --to mysql",
            "'mysql' is not one of 'sqlite', 'postgres'. See 'balsam db --help'",
        ),
        ("completion", "Choose from: bash, zsh, fish. See 'balsam completion --help'."),
    ],
)
def test_words_to_choose_from_stand_on_one_line(
    line: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("balsam", line.split()) == 2
    assert words in capsys.readouterr().err


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def call() -> int:
        raise ValueError("odd")

    assert guarded(call, Invocation(debug=True)) == 1
    assert "Traceback" in capsys.readouterr().err


def test_success_passes_its_code() -> None:
    assert guarded(lambda: 3, Invocation()) == 3


def test_an_error_is_said_though_the_output_is_lost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> int:
        print("a line")
        raise BalsamError("Job 5 can not be killed")

    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert guarded(fail, Invocation()) == 1
    assert capsys.readouterr().err == "Job 5 can not be killed.\n"
