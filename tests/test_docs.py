"""The documentation does what it says: every code block of README and docs is executed, as printed.

A page is a session. Its blocks run in order, in a new directory with a HOME of its own:

* ``console``: lines that begin with ``$`` run in bash; output that is shown below is compared, with
  ``...`` for whatever varies. Directory and variables last from line to line.
* ``bash``: runs in the same shell. ``python``: runs in one Python that stays, begun in the shell's
  directory; with ``>>>`` it is a doctest.
* Any block with a caption is written to the file of that name instead.
* ``text`` is only shown.
"""

from __future__ import annotations

import doctest
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from balsam_docs import blocks
from balsam_docs.blocks import Block

from balsam.conf import settings

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.rst"
PAGES = [README, *sorted((ROOT / "docs").glob("**/*.rst"))]
#: The commands that ``.ci/run`` executes, each in a new copy of the source.
SET_UP = ("run-it", "test-it")
SHOWN_ONLY = ("text",)
#: The pages that everybody begins with; to follow all others takes minutes.
FIRST = ("README.rst", "docs/quickstart.rst")
TIMEOUT_SECONDS = 120
#: What else the commands of a page have to print, all together, and how often.
PRINTED = {
    "docs/tutorials/campaign.rst": (r" JOB_FINISHED  18\n +FAILED  2\n\Z", 1),
    "docs/tutorials/optimisation.rst": (r"^best cost ", 2),
}

_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
#: Reads code as JSON lines, runs it, and answers with what went wrong.
_PYTHON = textwrap.dedent(
    """
    import contextlib, doctest, io, json, sys, traceback
    flags, names = int(sys.argv[1]), {"__name__": "__main__"}
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        code, place = json.loads(line)
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            try:
                if code.startswith(">>>"):
                    test = doctest.DocTestParser().get_doctest(code, names, place, None, 0)
                    runner = doctest.DocTestRunner(optionflags=flags)
                    problem = said.getvalue() if runner.run(test, clear_globs=False)[0] else ""
                    names.update(test.globs)
                else:
                    exec(compile(code, place, "exec"), names)
                    problem = ""
            except BaseException:
                problem = traceback.format_exc()
        print(json.dumps(problem), file=answers, flush=True)
    """
)


class Session:
    """A reader who follows a page: a shell's directory and variables, and one Python."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.printed = ""
        self.cwd = str(home / "source")
        shutil.copytree(ROOT / "examples", home / "source" / "examples", dirs_exist_ok=True)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("BALSAM_")}
        programs = home / "bin"
        programs.mkdir()
        for name, words in (("balsam", "-m balsam"), ("python", ""), ("python3", "")):
            script = f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n'
            (programs / name).write_text(script)
            (programs / name).chmod(0o755)
        self.env |= {
            "HOME": str(home),
            "PATH": ":".join(map(str, (programs, ROOT / "scripts", Path(sys.executable).parent)))
            + f":{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "100",
        }
        self._python: subprocess.Popen[str] | None = None

    def follow(self, block: Block) -> None:
        """Do what a block says; AssertionError if it does not come out as shown."""
        if block.language in SHOWN_ONLY:
            return
        if "caption" in block.options:
            path = Path(self.cwd, block.options["caption"])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text + "\n")
        elif block.language == "console":
            for command, shown in steps(block.text):
                self._compare(block, command, shown, self._shell(block, command))
        elif block.language == "bash":
            self._shell(block, f"set -e\n{block.text}\nset +e")
        else:
            self._ask_python(block)

    def _shell(self, block: Block, command: str) -> str:
        state, output = self.home / "state", self.home / "output"
        script = f'{command}\nbalsam_docs=$?\n{{ pwd; env -0; }} > "$0"\nexit $balsam_docs'
        # A file and no pipe: a program left in the background would keep a pipe open.
        with output.open("w") as stream:
            done = subprocess.run(
                ["bash", "-c", script, str(state)],
                cwd=self.cwd,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
        said = output.read_text()
        self.printed += said
        assert done.returncode == 0, f"{block.place}: {command}\n{said}"
        self.cwd, _, variables = state.read_text().partition("\n")
        self.env = dict(line.split("=", 1) for line in variables.split("\0") if line)
        return said

    @staticmethod
    def _compare(block: Block, command: str, shown: str, said: str) -> None:
        if not shown:
            return
        said = said.rstrip() + "\n"
        checker, example = doctest.OutputChecker(), doctest.Example(command, shown)
        if not checker.check_output(shown, said, _FLAGS):
            difference = checker.output_difference(example, said, _FLAGS | doctest.REPORT_NDIFF)
            raise AssertionError(f"{block.place}: {command}\n{difference}\nIt said:\n{said}")

    def _ask_python(self, block: Block) -> None:
        if self._python is None:
            self._python = subprocess.Popen(
                [sys.executable, "-c", _PYTHON, str(_FLAGS)],
                cwd=self.cwd,
                env=self.env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self._python.stdin and self._python.stdout
        print(json.dumps([block.text + "\n", block.place]), file=self._python.stdin, flush=True)
        answer = self._python.stdout.readline()
        problem = json.loads(answer) if answer else "Python ended"
        assert not problem, f"{block.place}:\n{problem}"

    def close(self) -> None:
        """End the Python, which gets no more code."""
        if self._python is not None:
            self._python.communicate(timeout=TIMEOUT_SECONDS)


def steps(text: str) -> Iterator[tuple[str, str]]:
    """The commands of a console block, each with the output that is shown for it."""
    command: list[str] = []
    shown: list[str] = []
    for line in [*text.splitlines(), "$ "]:
        if line.startswith("$ "):
            if command:
                yield "\n".join(command), "\n".join(shown).rstrip() + "\n" if shown else ""
            command, shown = [line[2:]], []
        elif not shown and (line.startswith("> ") or command[-1].endswith("\\")):
            command.append(line.removeprefix("> "))
        else:
            shown.append(line)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    reader = Session(tmp_path)
    yield reader
    reader.close()


def page_name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def code(path: Path) -> list[Block]:
    return [block for block in blocks.read(path) if block.options.get("name") not in SET_UP]


assert PRINTED.keys() <= set(map(page_name, PAGES))


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=() if page_name(path) in FIRST else pytest.mark.long)
        for path in PAGES
        if code(path)
    ],
    ids=page_name,
)
def test_the_code_of_a_page_does_what_it_shows(path: Path, session: Session) -> None:
    for block in code(path):
        session.follow(block)
    if page_name(path) in PRINTED:
        wanted, times = PRINTED[page_name(path)]
        found = re.findall(wanted, session.printed, re.M)
        assert len(found) == times, f"{len(found)} times {wanted} in:\n{session.printed}"


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_all_code_is_in_blocks_that_are_executed(path: Path) -> None:
    known = {"bash", "console", "python", *SHOWN_ONLY}
    for block in blocks.read(path):
        assert block.language in known or "caption" in block.options, (
            f"{block.place} is neither executed nor 'text'"
        )
    assert not blocks.other_code(path.read_text()), "use code-block, so that it is executed"


def test_the_readme_begins_with_the_two_commands() -> None:
    first, second = blocks.read(README)[:2]
    assert (first.options["name"], second.options["name"]) == SET_UP
    for block in (first, second):
        assert len(block.text.splitlines()) == 1
        assert block.text.startswith("python3 -m venv .venv && .venv/bin/pip install ")
    assert first.text.endswith(" && .venv/bin/balsam demo")
    assert second.text.endswith(" && .venv/bin/pytest")


def test_ci_takes_the_commands_from_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    for name in SET_UP:
        assert re.search(rf"readme_command {name}\b", script)


def test_the_modules_that_the_architecture_names_exist() -> None:
    page = (ROOT / "docs" / "concepts" / "architecture.rst").read_text()
    for layer, name in re.findall(r"\b(cli|launcher|core|conf|platform|transitions)\.(\w+)", page):
        place = ROOT / "balsam" / layer / name
        is_setting = hasattr(getattr(settings.Settings(), layer, None), name)
        assert place.is_dir() or place.with_suffix(".py").is_file() or is_setting, f"{layer}.{name}"


def test_every_variable_of_balsam_is_documented() -> None:
    page = (ROOT / "docs" / "reference" / "environment.rst").read_text()
    sources = [*(ROOT / "balsam").glob("**/*.py"), *(ROOT / "templates").glob("**/*")]
    used = {
        name
        for source in sources
        if source.is_file()
        for name in re.findall(r"(?:[\"'`$]|export )(BALSAM_[A-Z_]*[A-Z])\b", source.read_text())
    }
    assert used - set(re.findall(r"BALSAM_[A-Z_]+", page)) == set()
