"""Hooks: however a user's script ends, the outcome says so, and nothing of it stays behind."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from balsam import states
from balsam.errors import TransferError
from balsam.outcomes import Outcome
from balsam.platform.process import marked_processes
from balsam.transitions import scripts
from balsam.transitions.spec import POSTPROCESS, PREPROCESS, STEP_VARIABLE, StepSpec
from balsam.transitions.worker import Control


@pytest.fixture(autouse=True)
def directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook is started from its own directory; the tests go back to theirs."""
    monkeypatch.chdir(".")


@pytest.fixture
def orders() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    os.close(read)


@pytest.fixture
def control(orders: tuple[int, int]) -> Iterator[Control]:
    with Control(orders[0]) as control:
        control.holding = True
        yield control


def hook(workdir: Path, command: str, **fields: Any) -> StepSpec:
    given: dict[str, Any] = {
        "token": f"unit-{os.getpid()}",
        "job_id": 1,
        "kind": PREPROCESS,
        "label": "[a | 11223344]",
        "state": states.STAGED_IN,
        "done_state": states.PREPROCESSED,
        "workdir": str(workdir),
        "data_dir": str(workdir.parent),
        "command": command,
        **fields,
    }
    return StepSpec(**given)


def python(code: str) -> str:
    return f"{sys.executable} -c '{code}'"


def failure(outcome: Outcome | None) -> str:
    assert outcome is not None and outcome.state == states.FAILED
    assert outcome.data["cause"] == states.HOOK
    return outcome.message


def test_success_keeps_the_output_of_every_run(tmp_path: Path, control: Control) -> None:
    spec = hook(tmp_path, "sh -c 'echo out; echo err >&2'")
    for _ in range(2):
        assert scripts.run(spec, control) == Outcome(states.PREPROCESSED)
    text = f"# Balsam Preprocessor: {spec.command}\nout\nerr\n"
    assert (tmp_path / "preprocess.log").read_text() == text * 2


def test_the_hook_gets_its_directory_and_environment(tmp_path: Path, control: Control) -> None:
    spec = hook(
        tmp_path,
        "sh -c 'pwd; echo \"$BALSAM_JOB_ID $BALSAM_STEP $HOME\"; cat'",
        env={"BALSAM_JOB_ID": "abc", "HOME": "/h"},
        kind=POSTPROCESS,
        done_state=states.POSTPROCESSED,
    )
    assert scripts.run(spec, control) == Outcome(states.POSTPROCESSED)
    lines = (tmp_path / "postprocess.log").read_text().splitlines()
    assert lines[1:] == [str(tmp_path), f"abc {spec.token} /h"]


def test_signals_are_as_in_a_fresh_shell(tmp_path: Path, control: Control) -> None:
    scripts.run(hook(tmp_path, "grep -E 'Sig(Ign|Blk)' /proc/self/status"), control)
    masks = [int(line.split()[1], 16) for line in _output(tmp_path)]
    usual = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD)
    assert [mask & sum(1 << number - 1 for number in usual) for mask in masks] == [0, 0]


def test_a_failing_hook_is_named_with_its_last_words(tmp_path: Path, control: Control) -> None:
    (tmp_path / "preprocess.log").write_text("old words\n")
    outcome = scripts.run(hook(tmp_path, "sh -c 'echo so sorry; exit 3'"), control)
    message = failure(outcome)
    assert "preprocess 'sh -c" in message and "exit code 3" in message
    assert str(tmp_path / "preprocess.log") in message
    assert outcome is not None
    assert outcome.data == {"cause": "hook", "returncode": 3, "tail": "so sorry"}


def test_a_hook_killed_by_a_signal(tmp_path: Path, control: Control) -> None:
    outcome = scripts.run(hook(tmp_path, "sh -c 'kill -SEGV $$'"), control)
    assert "SIGSEGV" in failure(outcome)
    assert outcome is not None and outcome.data["returncode"] == -11


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("no-such-program --x", "no-such-program"),
        ("./plain.txt", "it is not executable (chmod +x "),
        ("./lost.sh", "the interpreter '/no/such/interpreter' that its first line names"),
        ("./bare.sh", "its first line names no interpreter (#!)"),
        ("./", "it is a directory"),
        ("echo 'unbalanced", "No closing quotation"),
        ("  ", "The command is empty"),
    ],
)
def test_hooks_that_can_not_start(
    tmp_path: Path, control: Control, command: str, reason: str
) -> None:
    (tmp_path / "plain.txt").write_text("x")
    (tmp_path / "lost.sh").write_text("#!/no/such/interpreter\n")
    (tmp_path / "bare.sh").write_text("echo hello\n")
    for name in ("lost.sh", "bare.sh"):
        (tmp_path / name).chmod(0o755)
    assert reason in failure(scripts.run(hook(tmp_path, command), control))


def test_the_work_directory_is_made(tmp_path: Path, control: Control) -> None:
    outcome = scripts.run(hook(tmp_path / "w" / "new", "touch here"), control)
    assert outcome == Outcome(states.PREPROCESSED)
    assert (tmp_path / "w" / "new" / "here").exists()


def test_an_unmakeable_work_directory(tmp_path: Path, control: Control) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TransferError, match="can not make the work directory .*file/x"):
        scripts.run(hook(tmp_path / "file" / "x", "true"), control)


def test_a_hanging_hook_ends_at_its_time_limit(tmp_path: Path, control: Control) -> None:
    spec = hook(tmp_path, "sh -c 'echo here; sleep 60 & setsid sleep 60 & wait'", time_limit=0.2)
    outcome = scripts.run(spec, control)
    assert "time limit of 0.2 s" in failure(outcome)
    assert outcome is not None and outcome.data["tail"] == "here"
    assert marked_processes(STEP_VARIABLE, spec.token) == []


def test_a_hook_that_ignores_term_is_killed(tmp_path: Path, control: Control) -> None:
    command = "sh -c 'trap \"echo no\" TERM; while :; do sleep 0.05; done'"
    spec = hook(tmp_path, command, time_limit=0.2)
    assert "time limit" in failure(scripts.run(spec, control))
    assert "no" in _output(tmp_path)
    assert marked_processes(STEP_VARIABLE, spec.token) == []


def test_what_a_hook_leaves_in_the_background_is_ended(tmp_path: Path, control: Control) -> None:
    spec = hook(tmp_path, "sh -c 'sleep 60 & sleep 60 & exit 0'")
    assert scripts.run(spec, control) == Outcome(states.PREPROCESSED)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.parametrize("state", [states.RUN_ERROR, states.RUN_TIMEOUT])
def test_a_handler_has_to_set_a_state(tmp_path: Path, control: Control, state: str) -> None:
    spec = hook(tmp_path, "true", kind=POSTPROCESS, state=state, handler=True)
    assert f"without setting a state, which the handler of {state}" in failure(
        scripts.run(spec, control)
    )
    lines = (tmp_path / "postprocess.log").read_text().splitlines()
    assert lines == ["# Balsam Postprocessor: true", f"# Invoked to handle {state}"]


def test_envscript_and_tilde(
    tmp_path: Path, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "env it.sh").write_text("export COLOUR='deep blue'\n")
    (tmp_path / "show.sh").write_text('#!/bin/sh\necho "$COLOUR" "$1"\n')
    (tmp_path / "show.sh").chmod(0o755)
    spec = hook(tmp_path, "~/show.sh 'a  b'", envscript=str(tmp_path / "env it.sh"))
    assert scripts.run(spec, control) == Outcome(states.PREPROCESSED)
    assert _output(tmp_path) == ["deep blue a  b"]


def test_an_envscript_whose_last_command_fails_is_no_failure(
    tmp_path: Path, control: Control
) -> None:
    (tmp_path / "env.sh").write_text("COLOUR=blue; export COLOUR\n[ -d /no/such/dir ]\n")
    spec = hook(tmp_path, "sh -c 'echo $COLOUR'", envscript=str(tmp_path / "env.sh"))
    assert scripts.run(spec, control) == Outcome(states.PREPROCESSED)
    assert _output(tmp_path) == ["blue"]


def test_an_envscript_that_is_not_there_is_named(tmp_path: Path, control: Control) -> None:
    missing = hook(tmp_path, "true", envscript="/no/such.sh")
    outcome = failure(scripts.run(missing, control))
    assert "The envscript '/no/such.sh' can not be used: it is not there" in outcome


def test_a_link_in_place_of_the_log_is_not_written_through(
    tmp_path: Path, control: Control
) -> None:
    (tmp_path / "parents.log").write_text("the parent's")
    (tmp_path / "preprocess.log").symlink_to("parents.log")
    scripts.run(hook(tmp_path, "echo mine"), control)
    assert (tmp_path / "parents.log").read_text() == "the parent's"
    assert _output(tmp_path) == ["mine"]


def test_the_path_of_the_jobs_environment_is_searched(tmp_path: Path, control: Control) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "special").write_text("#!/bin/sh\necho special\n")
    (tmp_path / "bin" / "special").chmod(0o755)
    spec = hook(tmp_path, "special", env={"PATH": f"{tmp_path}/bin:/bin"})
    assert scripts.run(spec, control) == Outcome(states.PREPROCESSED)


def test_end_of_file_while_a_hook_runs_ends_it(
    tmp_path: Path, control: Control, orders: tuple[int, int]
) -> None:
    spec = hook(tmp_path, "sleep 60")
    os.close(orders[1])
    assert scripts.run(spec, control) is None
    assert control.stopped
    assert marked_processes(STEP_VARIABLE, spec.token) == []


def _output(workdir: Path) -> list[str]:
    lines = (workdir / "preprocess.log").read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]
