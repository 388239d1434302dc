"""What the end of an attempt is put down to, by all the traces it left."""

from __future__ import annotations

import signal
import uuid
from pathlib import Path

import pytest

from balsam import states
from balsam.launcher.node_pool import Placement, Request
from balsam.launcher.runs import Run, Traces, lost, outcome, traces
from balsam.launcher.tasks import Mpi, Task
from balsam.platform.evidence import OomWatch
from balsam.platform.flavours import FLAVOURS
from balsam.platform.process import Exit, RunSpec

TASK = Task(
    id=1, job_id=uuid.uuid4(), workflow="w", name="t", state=states.PREPROCESSED, attempt=0,
    lost_attempts=0, app_id=None, direct_command="true", args="", environ={},
    request=Request(num_nodes=2), mpi_flags="", wall_time_minutes=1, time_limit_minutes=0.0,
    workdir="", user_workdir="",
)  # fmt: skip
#: As srun 20 to 24 say it; which of the two comes first, and whether both do, is chance.
OUT_OF_MEMORY = (
    "slurmstepd: error: Detected 1 oom_kill event in StepId=7.2. Some of the step tasks have been "
    "OOM Killed.\n",
    "slurmstepd-n3: error: Detected 2 oom-kill event(s) in StepId=7.2 cgroup. Some of your "
    "processes may have been killed by the cgroup out-of-memory handler.\n",
    "srun: error: n3: task 1: Out Of Memory\n",
    "srun: error: n3: tasks 0-1: Out Of Memory\nsrun: Terminating StepId=7.2\n",
)


def run_of(flavour: str, output: Path) -> Run:
    spec = RunSpec((flavour, "true"), str(output.parent), {}, str(output), program="./sim")
    return Run(TASK, Placement(("n3", "n4"), 2.0), spec, mpi=Mpi(flavour, FLAVOURS[flavour], ()))


def cause(run: Run, code: int, watch: OomWatch | None = None, *, oom: bool = False) -> str:
    found = outcome(run, Exit(1, code, 0, 0.0, 0), traces(run, watch, 5, oom=oom))
    return str(found.data["cause"])


@pytest.mark.parametrize("code", [1, 137])
@pytest.mark.parametrize("said", OUT_OF_MEMORY)
def test_srun_says_that_ranks_were_killed_for_want_of_memory(
    tmp_path: Path, said: str, code: int
) -> None:
    output = tmp_path / "out"
    output.write_text(f"step 12\n{said}")
    assert cause(run_of("srun", output), code) == states.OOM
    # What a program writes of itself is no evidence.
    output.write_text(f"rank 3: {said}")
    assert cause(run_of("srun", output), code) != states.OOM
    output.write_text(f"step 12\n{said}")
    assert cause(run_of("mpich", output), code) != states.OOM


@pytest.mark.parametrize("code", [1, 137])
def test_a_kill_on_this_node_is_not_put_down_to_ranks_on_others(tmp_path: Path, code: int) -> None:
    (tmp_path / "out").write_text("step 12\n")
    counter = tmp_path / "vmstat"
    run = run_of("mpich", tmp_path / "out")
    for is_here in (False, True):
        counter.write_text("oom_kill 1\n")
        watch = OomWatch([counter], messages=tmp_path / "none")
        counter.write_text("oom_kill 2\n")
        assert (cause(run, code, watch if is_here else None) == states.OOM) == is_here
    assert cause(run, code, oom=True) == states.OOM


@pytest.mark.parametrize(
    ("named", "expected"), [("./sim", states.PROGRAM_MISSING), ("./other", states.EXIT)]
)
def test_a_program_that_is_not_on_the_nodes_is_missing(
    tmp_path: Path, named: str, expected: str
) -> None:
    """It may be where the launcher looked for it all the same."""
    said = f"[proxy:0:0@n3] x (x.c:1): execvp error on file {named} (No such file or directory)\n"
    (tmp_path / "out").write_text(said)
    assert cause(run_of("mpich", tmp_path / "out"), 255) == expected


@pytest.mark.parametrize(
    ("code", "number", "state", "cause", "words"),
    [
        (-10, 10, states.RUN_TIMEOUT, states.BATCH_TIME_LIMIT, "ended with signal 10 (SIGUSR1)"),
        (138, 0, states.RUN_TIMEOUT, states.BATCH_TIME_LIMIT, "ended with exit code 138"),
        (-12, 12, states.RUN_ERROR, states.SIGNAL, "ended with signal 12 (SIGUSR2)"),
        (3, 0, states.RUN_ERROR, states.EXIT, "ended with exit code 3"),
    ],
)
@pytest.mark.parametrize("flavour", ["", "openmpi5"])
def test_who_dies_of_the_warning_is_to_run_again(
    tmp_path: Path, flavour: str, code: int, number: int, state: str, cause: str, words: str
) -> None:
    run = run_of(flavour or "mpich", tmp_path / "out")
    run.mpi = run.mpi if flavour else None
    quiet = Traces(lambda pid: False, lambda: "")
    end = Exit(1, code, number, 0.0, 0)
    assert outcome(run, end, quiet).data["cause"] in (states.SIGNAL, states.EXIT)
    run.warned = signal.SIGUSR1
    found = outcome(run, end, quiet)
    assert (found.state, found.data["cause"]) == (state, cause)
    assert found.data["warned"] == "SIGUSR1"
    assert found.message.endswith(f"ttempt 1 {words} after it was warned by SIGUSR1")


def test_who_says_that_it_is_done_is_done_and_who_was_stopped_was_stopped(tmp_path: Path) -> None:
    run = run_of("mpich", tmp_path / "out")
    run.mpi, run.warned = None, signal.SIGUSR1
    quiet = Traces(lambda pid: False, lambda: "")
    done = outcome(run, Exit(1, 0, 0, 0.0, 0), quiet)
    assert (done.state, done.data["cause"]) == (states.RUN_DONE, states.OK)
    assert (done.message, done.data["warned"]) == ("It was warned by SIGUSR1", "SIGUSR1")
    assert lost(run, "n3", "it is dead").outcome.data["warned"] == "SIGUSR1"
    for cause in (states.BATCH_TIME_LIMIT, states.JOB_TIME_LIMIT):
        run.stopping = cause
        stopped = outcome(run, Exit(1, 138, 0, 0.0, 0), quiet)
        assert (stopped.state, stopped.data["cause"]) == (states.RUN_TIMEOUT, cause)
        assert "ended with" not in stopped.message
