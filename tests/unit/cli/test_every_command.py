"""Every command has help, and answers a bad call with one sentence and an exit code."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import balsam
from balsam.cli.app import cli

ROOT = Path(balsam.__file__).parents[1]
SECONDS = 60
#: Command -> a bad call of it in a project with one job of the application ``hello``, the exit
#: code, and words of the sentence. A new command needs a line here.
BAD: dict[str, tuple[str, int, str]] = {
    "app": ("--name hello --executable echo", 1, "registered already"),
    "backup": (".", 1, "is a directory"),
    "bug-report": ("one two", 2, "unexpected extra argument"),
    "completion": ("tcsh", 2, "'tcsh' is not one of"),
    "demo": (".", 1, "not empty"),
    "db": ("copy --to sqlite", 1, "in SQLite already"),
    "dbserver": ("--stop", 1, "needs no server"),
    "dep": ("1 77", 1, "'77'"),
    "doctor": ("now", 2, "unexpected extra argument (now)."),
    "fsck": ("nope.db", 1, "nope.db"),
    "init": (".", 1, "already"),
    "job": ("--name x --workflow w --application helo", 1, "did you mean 'hello'?"),
    "kill": ("77 --yes", 1, "'77'"),
    "killjob": ("--id 77 --yes", 1, "'77'"),
    "launcher": ("--wf-filter w --time-limit-minutes nan", 2, "nan is not from"),
    "log": ("--lines many", 2, "'many' is not a whole number"),
    "logs": ("77", 1, "'77'"),
    "ls": ("--state FINISHED", 1, "did you mean 'JOB_FINISHED'?"),
    "machines": ("laptob", 1, "did you mean 'laptop'?"),
    "make-dummies": ("-- -3", 2, "-3 is not from 1"),
    "mkchild": ("--name x", 1, "BALSAM_JOB_ID"),
    "modify": ("1 num_nodes many", 1, "num_nodes is a whole number, not 'many'."),
    "qsub": ("-n 0 true", 2, "0 is not from 1"),
    "restore": ("nope.db", 1, "nope.db"),
    "retry": ("77", 1, "'77'"),
    "rm": ("jobs --all", 1, "add --"),
    "run": ("-n 0 -- true", 2, "0 is not from 1"),
    "server": ("start", 1, "needs no server"),
    "wait": ("--timeout soon 1", 2, "'soon' is no length of time"),
    "watch": ("--once --state NOPE", 1, "no state 'NOPE'"),
    "which": ("--name nope", 1, "'nope'"),
    "why": ("77", 1, "'77'"),
}


def run(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("BALSAM")}
    env.update(HOME=str(home), PYTHONPATH=str(ROOT))
    return subprocess.run(
        [sys.executable, "-m", "balsam", *words],
        cwd=home / "project", env=env, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=SECONDS,
    )  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("every-command")
    (home / "project").mkdir()
    for line in (
        "init .",
        "app --name hello --executable echo",
        "job --name one --workflow w --application hello",
    ):
        assert run(home, *line.split()).returncode == 0, line
    return home


def test_every_command_has_a_bad_call() -> None:
    assert set(BAD) == set(cli.entries)


@pytest.mark.parametrize("command", cli.entries)
def test_help(home: Path, command: str) -> None:
    done = run(home, command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: balsam {command} ")
    _, text, *_ = done.stdout.split("\n\n")
    assert text.startswith("  ")
    assert text.strip()[0].isupper()
    assert text.rstrip().endswith((".", ":"))
    assert "\nOptions:\n" in done.stdout


@pytest.mark.parametrize("command", cli.entries)
def test_a_bad_call_is_one_sentence(home: Path, command: str) -> None:
    line, code, words = BAD[command]
    done = run(home, command, *shlex.split(line))
    assert done.returncode == code, done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "Unexpected" not in done.stderr
    assert words in done.stderr
    assert done.stderr.rstrip().endswith((".", "?"))


@pytest.mark.parametrize("command", cli.entries)
def test_a_misspelled_option_is_one_sentence(home: Path, command: str) -> None:
    done = run(home, command, "--hlep")
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == ""
    sentence, _, see = done.stderr.partition(" See ")
    assert see == f"'balsam {command} --help'.\n"
    if command != "modify":  # whose value may begin with a dash
        assert sentence == "There is no option --hlep; did you mean '--help'?"
