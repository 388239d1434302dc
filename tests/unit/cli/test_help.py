"""Help: there for every command, and loading nothing that it does not need."""

from __future__ import annotations

import subprocess
import sys

import pytest

from balsam.cli.app import cli

HEAVY = ("django", "mpi4py", "rich", "psutil", "yaml", "jinja2", "balsam.core", "balsam.conf")
LOOK = """
import sys
from balsam.cli import main
sys.argv = ["balsam", *sys.argv[1:]]
try:
    main()
except SystemExit as stop:
    print("CODE", stop.code)
print("LOADED", *(name for name in sys.modules))
"""


def run(*words: str) -> tuple[int, str, str, set[str]]:
    done = subprocess.run(
        [sys.executable, "-c", LOOK, *words], capture_output=True, text=True, timeout=60
    )
    text, _, tail = done.stdout.partition("CODE ")
    code, _, loaded = tail.partition("LOADED ")
    return int(code), text, done.stderr, set(loaded.split())


def heavy(loaded: set[str]) -> list[str]:
    return [name for name in HEAVY if name in loaded]


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",), ("--version",)])
def test_the_overview_loads_no_command(words: tuple[str, ...]) -> None:
    code, text, _, loaded = run(*words)
    assert code == 0
    assert text.startswith(("Usage: balsam", "balsam "))
    assert not heavy(loaded)
    assert not {entry.module for entry in cli.entries.values()} & loaded


@pytest.mark.parametrize("command", list(cli.entries))
def test_the_help_of_a_command_loads_no_other(command: str) -> None:
    code, text, _, loaded = run(command, "--help")
    assert code == 0
    assert text.startswith(f"Usage: balsam {command} ")
    assert not heavy(loaded)
    if command in ("init", "which", "launcher", "ls"):
        others = {entry.module for entry in cli.entries.values()} - {cli.entries[command].module}
        assert not others & loaded


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("lss",), "There is no command 'lss'; did you mean 'ls'? See 'balsam --help'."),
        (("--helpp",), "There is no option --helpp; did you mean '--help'? See 'balsam --help'."),
        (("ls", "--nmae"), "There is no option --nmae; did you mean '--name'? See 'balsam ls "),
        (("job", "--name", "x"), "Missing options '--workflow' and '--application'. See "),
        (("job",), "Missing options '--name', '--workflow' and '--application'. See "),
        (("job", "--name", "", "--wf", "w"), "--name can not be empty."),
        (("run", "--wf", "", "true"), "--workflow can not be empty."),
        (("mkchild", "--name", " "), "--name can not be empty."),
        (("qsub", "--jobname", "", "true"), "--name can not be empty."),
        (("qsub", "-z", "1", "true"), "There is no option -z. See 'balsam qsub --help'."),
        (("qsub", "-l", "select=x", "true"), "'x' is no number of nodes"),
        (("job", "--num-nodes", "0"), "0 is not from 1 to"),
        (("job", "--wall", "nan"), "'nan' is not a whole number."),
        (("launcher", "--time", "nan"), "nan is not from 0 to"),
        (("launcher",), "Give one of --consume-all and --wf-filter WORKFLOW."),
        (("launcher", "--consume", "--wf", "x"), "Give one of --consume-all and --wf-filter"),
        (("submit_launch", "-n", "1"), "does not submit batch jobs yet; put 'balsam launcher"),
        (("server", "start", "--json"), "--json goes with status"),
        (("init",), "Give the directory to make"),
    ],
)
def test_usage_errors_are_one_sentence_and_load_nothing(
    words: tuple[str, ...], message: str
) -> None:
    code, text, error, loaded = run(*words)
    assert code == 2
    assert text == ""
    assert message in error
    assert len(error.splitlines()) == 1
    assert not heavy(loaded)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("rm", "jobs"), "Say which jobs: ids, names, or options"),
        (("rm", "jobs", "--all", "--id", "3"), "Give --all, or say which jobs, not both."),
        (("ls", "queues"), "does not ask the scheduler about its queues yet"),
        (("rm", "17"), "Say what to remove: jobs or apps."),
        (("modify", "17", "name"), "Give ID FIELD VALUE, or options that select jobs."),
        (("kill",), "Say which jobs"),
        (("retry",), "Say which jobs"),
        (("ls", "--tree", "--json"), "--tree and --json do not go together."),
    ],
)
def test_what_a_selection_lacks_is_one_sentence_without_a_project(
    words: tuple[str, ...], message: str
) -> None:
    code, text, error, _ = run(*words)
    assert (code, text, len(error.splitlines())) == (2, "", 1)
    assert message in error


def test_help_is_a_command_too() -> None:
    assert run("help")[1] == run("--help")[1]
    assert run("help", "make_dummies")[1] == run("make-dummies", "--help")[1]


def test_the_overview_begins_with_how_to_start() -> None:
    _, text, _, _ = run()
    assert text.index("init ") < text.index("app ") < text.index("launcher ") < text.index("rm ")
    assert text.index("balsam init campaign") < text.index("Options:")
