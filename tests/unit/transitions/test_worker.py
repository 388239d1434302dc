"""The worker: every order gets an answer, and nothing else reaches the launcher's pipe."""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import balsam
from balsam import states
from balsam.platform import full_disk
from balsam.platform.process import marked_processes
from balsam.transitions import worker
from balsam.transitions.spec import POSTPROCESS, PREPROCESS, STAGE_IN, STEP_VARIABLE, StepSpec
from tests.tools.still import StillClock

SECONDS = 20.0


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    running = subprocess.Popen(
        [sys.executable, "-m", "balsam.transitions.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        cwd=Path(balsam.__file__).parent.parent,
    )
    with running:
        yield running
        running.kill()


def spec(tmp_path: Path, kind: str, **fields: Any) -> StepSpec:
    given: dict[str, Any] = {
        "token": f"worker-{os.getpid()}-{kind}",
        "job_id": 7,
        "kind": kind,
        "label": "[a | 11223344]",
        "state": states.READY,
        "done_state": states.PREPROCESSED,
        "workdir": "a_11223344",
        "data_dir": str(tmp_path),
        **fields,
    }
    return StepSpec(**given)


def send(process: subprocess.Popen[bytes], order: StepSpec) -> None:
    assert process.stdin is not None
    process.stdin.write(order.to_json().encode() + b"\n")


def answer(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdout is not None
    line = b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([process.stdout], [], [], SECONDS)
        assert ready, "the worker does not answer"
        received = process.stdout.read(65536)
        assert received, "the worker died"
        line += received
    reply: dict[str, Any] = json.loads(line)
    return reply


def started(tmp_path: Path) -> None:
    """Wait for the line that the hook writes into the FIFO it was given."""
    with open(tmp_path / "fifo", "rb") as fifo:
        assert fifo.readline() == b"here\n"


def hanging(tmp_path: Path) -> StepSpec:
    os.mkfifo(tmp_path / "fifo")
    command = f"sh -c 'echo here > {tmp_path}/fifo; sleep 60'"
    return spec(tmp_path, PREPROCESS, workdir=str(tmp_path), command=command)


def test_answers_orders_until_the_end_of_file(
    tmp_path: Path, process: subprocess.Popen[bytes]
) -> None:
    send(process, spec(tmp_path, STAGE_IN, done_state=states.STAGED_IN))
    assert answer(process)["state"] == states.STAGED_IN
    send(process, spec(tmp_path, PREPROCESS, command="echo hello"))
    assert answer(process) == {
        "token": f"worker-{os.getpid()}-{PREPROCESS}",
        "state": states.PREPROCESSED,
        "message": "",
        "data": {},
    }
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(SECONDS) == 0


@pytest.mark.parametrize(
    ("kind", "fields", "cause", "reason"),
    [
        (STAGE_IN, {"workdir": "../x"}, states.STAGING, "does not lie inside"),
        (STAGE_IN, {"workdir": "x" * 300}, states.STAGING, "File name too long"),
        (STAGE_IN, {"workdir": "/\0"}, states.STAGING, "null"),
        (STAGE_IN, {"url": "ftp://x/y"}, states.STAGING, "can not move files by 'ftp'"),
        (POSTPROCESS, {"workdir": "../x", "command": "true"}, states.HOOK, "does not lie inside"),
        (PREPROCESS, {"command": "true", "env": {"A\0": "x"}}, states.HOOK, "null"),
        ("NONSENSE", {}, states.STAGING, "no step of the kind 'NONSENSE'"),
    ],
)
def test_whatever_goes_wrong_is_an_outcome(
    tmp_path: Path, kind: str, fields: dict[str, Any], cause: str, reason: str
) -> None:
    (tmp_path / "a_11223344").mkdir()
    read, write = os.pipe()
    with worker.Control(read) as control:
        outcome = worker.execute(spec(tmp_path, kind, **fields), control)
    os.close(read)
    os.close(write)
    assert outcome is not None
    assert (outcome.state, outcome.data["cause"]) == (states.FAILED, cause)
    assert reason in outcome.message


class Patient:
    """Lets the time pass that is waited for, and is told to stop after so many waits."""

    def __init__(self, waits: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock, self.left = StillClock(), waits
        self.waits: list[float] = []
        for timed in (full_disk, worker):
            monkeypatch.setattr(timed, "time", self.clock)

    @property
    def stopped(self) -> bool:
        return not self.left

    def wait(self, timeout: float) -> None:
        time.sleep(0.005)  # for what really runs
        self.left -= 1
        self.waits.append(timeout)
        self.clock.now += timeout


@pytest.mark.parametrize("kind", [STAGE_IN, PREPROCESS])
def test_a_step_waits_for_space_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    patient = Patient(2000, monkeypatch)
    real, tries = os.makedirs, []

    def full(path: Any, *rest: Any, **named: Any) -> None:
        tries.append(path)
        if len(tries) < 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, *rest, **named)

    monkeypatch.setattr("balsam.transitions.staging.os.makedirs", full)
    outcome = worker.execute(spec(tmp_path, kind, command="true"), patient)
    assert outcome is not None and outcome.state == states.PREPROCESSED, outcome
    assert len(tries) == 4 and patient.waits[:3] == [1, 2, 4]


@pytest.mark.parametrize("kind", [STAGE_IN, PREPROCESS])
def test_a_step_that_waits_for_space_can_be_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    patient = Patient(200, monkeypatch)
    monkeypatch.setattr("balsam.transitions.staging.os.makedirs", no_space)
    monkeypatch.setattr(os, "write", no_space)  # the log is on that disk, too
    assert worker.execute(spec(tmp_path, kind, command="true"), patient) is None
    assert patient.clock.now > 10_000


@pytest.mark.parametrize("kind", [STAGE_IN, PREPROCESS])
def test_a_disk_that_a_job_has_for_itself_is_its_own_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    own = tmp_path / "own"
    monkeypatch.setattr("balsam.transitions.staging.os.makedirs", no_space)
    order = spec(tmp_path, kind, command="true", workdir=str(own), data_dir=str(tmp_path / "data"))
    outcome = worker.execute(order, Patient(1, monkeypatch))
    assert outcome is not None and outcome.state == states.FAILED
    assert "quota" in outcome.message.lower()


def test_a_log_that_finds_no_space_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patient = Patient(3, monkeypatch)
    monkeypatch.setattr("balsam.transitions.scripts._write_header", no_space)
    assert worker.execute(spec(tmp_path, PREPROCESS, command="true"), patient) is None
    assert patient.left == 0


def no_space(*given: Any, **named: Any) -> Any:
    raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))


def test_a_hook_can_not_reach_the_launchers_pipe(
    tmp_path: Path, process: subprocess.Popen[bytes]
) -> None:
    (tmp_path / "a_11223344").mkdir()
    send(process, spec(tmp_path, PREPROCESS, command="sh -c 'ls -l /proc/$$/fd; echo {}'"))
    assert answer(process)["state"] == states.PREPROCESSED
    log = (tmp_path / "a_11223344" / "preprocess.log").read_text()
    assert "{}" in log and "pipe" not in log


@pytest.mark.parametrize("how", ["SIGTERM", "end of file"])
def test_the_end_of_the_worker_is_the_end_of_its_hook(
    tmp_path: Path, process: subprocess.Popen[bytes], how: str
) -> None:
    order = hanging(tmp_path)
    send(process, order)
    started(tmp_path)
    process.send_signal(signal.SIGINT)
    give_up = time.monotonic() + SECONDS
    # A shell that starts a program is two for a moment.
    while len(marked_processes(STEP_VARIABLE, order.token)) != 2:
        assert time.monotonic() < give_up
    if how == "SIGTERM":
        process.terminate()
    else:
        assert process.stdin is not None
        process.stdin.close()
    assert process.wait(SECONDS) == 0
    assert marked_processes(STEP_VARIABLE, order.token) == []


def test_an_idle_worker_ends_at_term(tmp_path: Path, process: subprocess.Popen[bytes]) -> None:
    send(process, spec(tmp_path, STAGE_IN))
    answer(process)
    process.send_signal(signal.SIGINT)
    process.terminate()
    assert process.wait(SECONDS) == 0


def test_starting_a_worker_loads_neither_django_nor_the_record() -> None:
    code = "import sys, balsam.transitions.worker; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(balsam.__file__).parent.parent,
    ).stdout.split()
    assert not [name for name in loaded if name.split(".")[0] == "django" or "balsam.core" in name]
