"""``balsamactivate``, ``balsamdeactivate`` and ``bcd``, sourced by the shells people use."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.terminal import PATIENCE_SECONDS, ROOT, Terminal

SCRIPTS = ROOT / "scripts"
SHELLS = ("bash", "zsh", "ksh")
#: Blanks, both quotes, and what a prompt or a shell would take for more than a character.
ODD = 'it\'s "my" $HOME`x`\\w%n!'


class Screen(Terminal):
    """A terminal where the scripts to source are on PATH, as pip puts them."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.env["PATH"] = f"{SCRIPTS}:{self.env['PATH']}"

    def run(self, shell: str, text: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """A script run by a shell, with unset variables and failures as errors in it."""
        if shutil.which(shell) is None:
            pytest.skip(f"{shell} is not installed")
        return subprocess.run(
            [shell, "-c", f"set -eu\n{text}"],
            cwd=self.cwd, env={**self.env, **environ}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=PATIENCE_SECONDS,
        )  # fmt: skip

    def lines(self, shell: str, text: str, **environ: str) -> list[str]:
        """What such a script prints; it has to succeed, and to say nothing else."""
        done = self.run(shell, text, **environ)
        assert (done.returncode, done.stderr) == (0, ""), f"{done.stdout}{done.stderr}"
        return done.stdout.splitlines()


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Screen:
    """Projects ``campaign`` (with a job that ran, and two of one name) and one of an odd name."""
    screen = Screen(tmp_path_factory.mktemp("shells"))
    screen.type("balsam init campaign")
    (screen.cwd / "odd").mkdir()
    screen.type(f"balsam init 'odd/'{_quoted(ODD)}")
    screen.type(
        "cd campaign && balsam app --name say --executable echo &&"
        " balsam job --name ran --workflow 'a b' --application say --yes &&"
        " balsam launcher --consume-all &&"
        " for i in 1 2; do balsam job --name twin --workflow w --application say --yes; done"
    )
    return screen


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def test_all_of_them_are_installed() -> None:
    packaging = (ROOT / "setup.py").read_text()
    for script in SCRIPTS.iterdir():
        assert f'"scripts/{script.name}"' in packaging
        assert os.access(script, os.X_OK)
        assert script.read_text().startswith("#!/bin/sh\n")


@pytest.mark.parametrize("shell", SHELLS)
def test_activating_and_deactivating(screen: Screen, shell: str) -> None:
    said = screen.lines(
        shell,
        """
        PS1='$ '
        source balsamactivate campaign
        echo "$BALSAM_DB_PATH|$PS1|"
        env | grep ^BALSAM_DB_PATH=
        cd /
        balsam which | head -n 1
        source balsamactivate campaign
        echo "$PS1|"
        source balsamdeactivate
        echo "${BALSAM_DB_PATH-none}|$PS1|${OLD_PS1-none}"
        """,
    )
    project = screen.cwd / "campaign"
    assert said == [
        f"{project}|[BalsamDB: campaign] $ |",
        f"BALSAM_DB_PATH={project}",
        f"Current Balsam DB: {project}",
        "[BalsamDB: campaign] $ |",
        "none|$ |none",
    ]


@pytest.mark.parametrize("shell", (*SHELLS, "dash"))
def test_a_path_of_any_characters(screen: Screen, shell: str) -> None:
    said = screen.lines(
        shell,
        f"""
        cd odd
        set -- ./{_quoted(ODD)}
        PS1='$ '
        . balsamactivate "$1"
        printf '%s\\n' "$BALSAM_DB_PATH" "$PS1"
        . balsamdeactivate
        printf '%s\\n' "$PS1"
        """,
    )
    assert said == [
        str(screen.cwd / "odd" / ODD),
        "[BalsamDB: it_s _my_ _HOME_x__w_n_] $ ",
        "$ ",
    ]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("words", ["balsamactivate nope", "balsamactivate ./nope", "bcd nope"])
def test_a_failure_is_one_sentence_and_changes_nothing(
    screen: Screen, shell: str, words: str
) -> None:
    done = screen.run(
        shell,
        f"""
        PS1='$ '
        source balsamactivate campaign
        before=$(pwd)
        if source {words}; then echo done; else echo "status $?"; fi
        echo "$BALSAM_DB_PATH|$PS1|$OLD_PS1|"
        [ "$before" = "$(pwd)" ]
        """,
    )
    assert done.returncode == 0
    project = screen.cwd / "campaign"
    assert done.stdout.splitlines() == ["status 1", f"{project}|[BalsamDB: campaign] $ |$ |"]
    assert re.fullmatch(r"[^\n]*nope[^\n]*\.\n", done.stderr)


@pytest.mark.parametrize("shell", SHELLS)
def test_without_an_argument_it_says_what_there_is(screen: Screen, shell: str) -> None:
    done = screen.run(shell, "if source balsamactivate; then echo done; else echo $?; fi")
    assert done.stdout == "1\n"
    first, *others = done.stderr.splitlines()
    assert first == "Usage: source balsamactivate NAME|PATH"
    assert f"  {screen.cwd / 'campaign'}" in others
    done = screen.run(shell, "if source bcd; then echo done; else echo $?; fi")
    assert (done.stdout, len(done.stderr.splitlines())) == ("1\n", 1)
    assert "source bcd ID" in done.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_deactivating_what_is_not_active(screen: Screen, shell: str) -> None:
    done = screen.run(shell, "if source balsamdeactivate; then echo done; else echo $?; fi")
    assert done.stdout == "1\n"
    assert done.stderr == "No project is active in this shell (BALSAM_DB_PATH is not set).\n"


@pytest.mark.parametrize("shell", SHELLS)
def test_to_the_directory_of_a_job(screen: Screen, shell: str) -> None:
    said = screen.lines(
        shell,
        """
        source balsamactivate campaign
        uuid=$(balsam ls --id 1 --csv --columns job_id | tail -n 1)
        source bcd ran
        pwd
        cd /
        source bcd 1
        pwd
        cd /
        source bcd "${uuid#????????????????????????}"
        ls
        """,
    )
    assert len(said) == 3
    assert said[0] == said[1]
    assert re.fullmatch(re.escape(str(screen.cwd)) + r"/campaign/data/a_b/ran_[0-9a-f]{8}", said[0])
    assert said[2] == "ran.out"


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("job", "words"), [("twin", "more than one job"), ("2", "has not been made yet")]
)
def test_a_job_without_one_directory(screen: Screen, shell: str, job: str, words: str) -> None:
    done = screen.run(
        shell,
        f"""
        source balsamactivate campaign
        if source bcd {job}; then echo done; else echo $?; fi
        """,
    )
    assert done.stdout == "1\n"
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("shell", SHELLS)
def test_nothing_is_left_behind(screen: Screen, shell: str) -> None:
    functions = {"bash": "declare -F", "zsh": "print -l ${(ok)functions}", "ksh": "typeset +f"}
    said = screen.lines(
        shell,
        f"""
        names() {{ set | sed -n 's/^\\([A-Za-z_0-9]*\\)=.*/\\1/p'; {functions[shell]}; }}
        PS1='$ '
        names > before
        source balsamactivate campaign
        source bcd ran
        cd "$OLDPWD"
        if source bcd nope 2> errors; then exit 1; fi
        if source balsamactivate nope 2> errors; then exit 1; fi
        source balsamdeactivate
        names > after
        grep -i balsam before after || echo none
        """,
    )
    new = set((screen.cwd / "after").read_text().split())
    new -= set((screen.cwd / "before").read_text().split())
    assert said == ["none"]
    assert new <= {"OLDPWD", "LINENO", "RANDOM", "PIPESTATUS", "_"}


@pytest.mark.parametrize("shell", (*SHELLS, "sh"))
@pytest.mark.parametrize("name", ["balsamactivate", "balsamdeactivate", "bcd"])
def test_executed_they_say_how_to_use_them(screen: Screen, shell: str, name: str) -> None:
    done = screen.run(shell, f"if {shell} {SCRIPTS / name} campaign; then exit 9; else exit $?; fi")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"type: source {name}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_shell_without_balsam_is_told(screen: Screen) -> None:
    done = screen.run(
        "bash",
        f"PATH={SCRIPTS}:/usr/bin:/bin; if source balsamactivate x; then :; else echo $?; fi",
    )
    assert done.stdout == "1\n"
    assert "no program 'balsam'" in done.stderr


def test_the_prompt_of_an_outer_shell_is_no_second_one(screen: Screen) -> None:
    said = screen.lines(
        "bash",
        """
        PS1='[BalsamDB: other] $ '
        source balsamactivate campaign
        echo "$PS1|"
        source balsamdeactivate
        echo "$PS1|"
        """,
    )
    assert said == ["[BalsamDB: campaign] $ |", "$ |"]
