"""Command lines of users' programs: what is made of them, and what is said of bad ones."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from balsam.errors import LaunchError, ProgramMissing
from balsam.platform import commandline, process
from balsam.platform.commandline import Programs
from balsam.platform.process import RunSpec

ENV = {"PATH": "/usr/bin:/bin"}


def test_words_are_split_and_homes_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/h")
    found = commandline.words(("the command", "~/sim -n 'a b'"), ("the arguments", "~/in x~ \\~"))
    assert found == ["/h/sim", "-n", "a b", "/h/in", "x~", "/h"]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([("the command", " "), ("the arguments", "")], "nothing to run"),
        ([("the command", " "), ("the arguments", "touch x")], "nothing to run"),
        ([("the command", "echo"), ("the arguments", "it's")], "The arguments can not be split"),
    ],
)
def test_bad_command_lines(parts: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(ProgramMissing, match=message):
        commandline.words(*parts, empty="There is nothing to run.")


def script(path: Path, text: str, mode: int = 0o755) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_programs_are_found(tmp_path: Path) -> None:
    script(tmp_path / "sim", "#!/bin/sh\n")
    programs = Programs()
    assert programs.find("sim", "/", {"PATH": str(tmp_path)}) == str(tmp_path / "sim")
    assert programs.find("./sim", str(tmp_path), ENV) == "./sim"
    with pytest.raises(ProgramMissing, match="'sim' is not in any directory of PATH"):
        programs.find("sim", str(tmp_path), ENV)


def test_what_is_wrong_with_a_file(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to("nowhere")
    found = {
        "/no/such": "it is not there",
        str(tmp_path / "dangling"): "it is a link that leads nowhere",
        str(tmp_path): "it is a directory",
        script(tmp_path / "plain", "#!/bin/sh\n", 0o644): f"chmod +x {tmp_path}/plain",
        script(tmp_path / "bare", "echo\n"): "its first line names no interpreter (#!)",
        script(tmp_path / "empty", ""): "its first line names no interpreter (#!)",
        script(tmp_path / "lost", "#! /no/such/sh -e\n"): "the interpreter '/no/such/sh'",
        script(tmp_path / "dos", "#!/bin/sh\r\n"): "carriage returns",
    }
    for path, reason in found.items():
        assert reason in commandline.trouble(path)
    for good in (script(tmp_path / "good", "#! /bin/sh -e\n"), "/bin/sh"):
        assert commandline.trouble(good) == ""


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"echo hello\n", "its first line names no interpreter"),
        (b"#!/no/such/sh\n", "the interpreter '/no/such/sh'"),
        (b"\x7fELF\x02\x01\x01\0", "another kind of machine"),
    ],
)
def test_what_the_system_will_not_run_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    program = tmp_path / "program"
    program.write_bytes(content)
    program.chmod(0o755)
    with pytest.raises(ProgramMissing, match=reason):
        process.spawn(RunSpec(["./program"], str(tmp_path), {}, str(tmp_path / "out")))


def test_what_else_goes_wrong_is_no_missing_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = ["/bin/true", "x" * 3_000_000]
    with pytest.raises(LaunchError, match="could not be started") as caught:
        process.spawn(RunSpec(line, str(tmp_path), {}, str(tmp_path / "out")))
    assert not isinstance(caught.value, ProgramMissing)


def ran(argv: list[str]) -> str:
    done = subprocess.run(argv, env=ENV, capture_output=True, text=True, check=True)
    return done.stdout


def test_an_envscript_is_read_whatever_its_last_command_comes_to(tmp_path: Path) -> None:
    path = script(tmp_path / "env it.sh", "COLOUR='deep blue'; export COLOUR\nfalse\n", 0o644)
    line = ["sh", "-c", 'echo "$COLOUR" "$@"', "sh", "a  b"]
    for given in (path, "env it.sh"):
        argv = Programs().ready(line, str(tmp_path), ENV, given)
        assert ran(argv) == "deep blue a  b\n"


def test_an_envscript_on_path(tmp_path: Path) -> None:
    path = script(tmp_path / "env.sh", "", 0o644)
    assert commandline.readable("env.sh", "/", {"PATH": f"/bin:{tmp_path}"}) == path


def test_an_envscript_that_can_not_be_read(tmp_path: Path) -> None:
    for name, reason in {"missing.sh": "it is not there", "": "it is a directory"}.items():
        with pytest.raises(ProgramMissing, match=reason):
            Programs().ready(["true"], "/", ENV, f"{tmp_path}/{name}")
    closed = script(tmp_path / "closed.sh", "", 0o000)
    if os.geteuid():
        with pytest.raises(ProgramMissing, match="it may not be read"):
            commandline.readable(closed, "/", ENV)
