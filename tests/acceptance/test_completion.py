"""Completion as the shells do it: their own functions, with the script that Balsam prints."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.terminal import PATIENCE_SECONDS, Terminal

#: Ask the function that ``complete`` has registered for what it would offer.
BASH = """\
source <(balsam completion bash)
offered() {
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
    [[ $(complete -p "$1") == *"-F _balsam_completion $1" ]] || exit 9
    _balsam_completion "$1"
    printf '%s\\n' "${COMPREPLY[@]}"
}
offered "$@"
"""
FISH = "balsam completion fish | source; complete -C $argv[1]"
#: An interactive zsh behind a terminal of its own; what TAB made of the line is printed by Enter.
#: Its editor shows the prompt when it is there to take TAB for what it is.
ZSH = """\
zmodload zsh/zpty
zpty asked 'PS1= zsh -f -i'
zpty -w asked 'autoload -Uz compinit; compinit -u -D; source script'
zpty -w asked 'show() { print "[$1|$2|$3|$4]" }'
zpty -w asked 'compdef _balsam_completion show=balsam; unsetopt zle_bracketed_paste; PS1=RE""ADY'
zpty -r -m asked before '*READY*' || exit 8
zpty -w -n asked "$1"$'\\t\\n'
zpty -r -m asked after '*\\]*' || exit 9
print -r -- $after
"""


class Offering(Terminal):
    """A terminal in a project with something to complete."""

    def ask(self, shell: str, *words: str) -> str:
        if shutil.which(shell) is None:
            pytest.skip(f"{shell} is not installed")
        done = subprocess.run(
            list(words), cwd=self.cwd, env=self.env, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=PATIENCE_SECONDS,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), f"{done.stdout}{done.stderr}"
        return done.stdout

    def bash(self, *words: str) -> list[str]:
        return self.ask("bash", "bash", "-c", BASH, "bash", *words).splitlines()

    def fish(self, line: str) -> list[str]:
        return self.ask("fish", "fish", "-c", FISH, line).splitlines()


@pytest.fixture(scope="module")
def offering(tmp_path_factory: pytest.TempPathFactory) -> Offering:
    terminal = Offering(tmp_path_factory.mktemp("completion"))
    terminal.type("balsam init campaign")
    terminal.cwd = terminal.cwd / "campaign"
    terminal.type(
        "balsam app --name hello --executable echo --description 'says, with a comma' &&"
        " balsam job --name alpha --workflow 'one two' --application hello --yes &&"
        " balsam job --name alpine --workflow other --application hello --yes &&"
        " balsam completion zsh > script"
    )
    return terminal


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("balsam make", ["make-dummies"]),
        ("balsam ls --by-s", ["--by-states"]),
        ("balsam ls --state JOB_F", ["JOB_FINISHED"]),
        ("balsam ls --state = JOB_F", ["JOB_FINISHED"]),
        ("balsam job --app he", ["hello"]),
        ("balsam job --application h", ["hello"]),
        ("balsam ls --name al", ["alpha", "alpine"]),
        ("balsam ls --wf o", ["one\\ two", "other"]),
        ("balsam launcher --wf-filter ot", ["other"]),
        ("balsam kill al", ["alpha", "alpine"]),
        ("balsam kill 2", ["2"]),
        ("balsam rm ap", ["apps"]),
        ("balsam ls wf ot", []),
        ("balsam rm jobs al", ["alpha", "alpine"]),
        ("balsam which --name c", ["campaign"]),
        ("balsam completion z", ["zsh"]),
        ("balsam_launcher --consume", ["--consume-all"]),
        ("balsam ls --state", ["--state"]),
        ("balsam nonsense x", []),
    ],
)
def test_bash(offering: Offering, line: str, expected: list[str]) -> None:
    assert [word for word in offering.bash(*line.split()) if word] == expected


def test_bash_after_a_blank(offering: Offering) -> None:
    assert offering.bash("balsam", "kill", "") == ["2", "1"]
    assert "doctor" in offering.bash("balsam", "")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("balsam make", ["make-dummies\tAdd jobs that only say hello."]),
        ("balsam ls --state=JOB_F", ["--state=JOB_FINISHED"]),
        ("balsam job --app he", ["hello\tsays, with a comma"]),
        ("balsam ls --wf o", ["one two", "other"]),
        ("balsam kill ", ["2\talpine", "1\talpha"]),
        ("balsam kill al", ["alpha", "alpine"]),
        ("balsam_launcher --wf-filter ot", ["other"]),
    ],
)
def test_fish(offering: Offering, line: str, expected: list[str]) -> None:
    assert offering.fish(line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("show ls --state=JOB_F", "[ls|--state=JOB_FINISHED||]"),
        ("show ls --state JOB_F", "[ls|--state|JOB_FINISHED|]"),
        ("show job --app he", "[job|--app|hello|]"),
        ("show ls --wf on", "[ls|--wf|one two|]"),
        ("show make", "[make-dummies|||]"),
    ],
)
def test_zsh(offering: Offering, line: str, expected: str) -> None:
    assert expected in offering.ask("zsh", "zsh", "-f", "-c", ZSH, "zsh", line)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_may_be_asked_for_as_click_does(offering: Offering, shell: str) -> None:
    script = offering.type(f"balsam completion {shell}")
    assert offering.type(f"_BALSAM_COMPLETE={shell}_source balsam").strip() == script.strip()
    assert "balsam_launcher" in script


def test_an_instruction_that_is_none(offering: Offering) -> None:
    assert offering.type("_BALSAM_COMPLETE=tcsh_complete balsam", 1) == ""
    assert offering.type("_BALSAM_COMPLETE=bash balsam", 1) == ""


def test_away_from_any_project_there_are_still_commands(offering: Offering, tmp_path: Path) -> None:
    here, offering.cwd = offering.cwd, tmp_path
    try:
        assert offering.bash("balsam", "complet") == ["completion"]
        assert offering.bash("balsam", "ls", "--name", "") == [""]
    finally:
        offering.cwd = here
