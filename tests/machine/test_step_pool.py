"""The step pool against hooks and workers that die in every way."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import balsam
from balsam import states
from balsam.errors import LaunchError
from balsam.outcomes import Outcome
from balsam.platform.process import marked_processes
from balsam.transitions.pool import StepPool
from balsam.transitions.spec import PREPROCESS, STAGE_IN, STEP_VARIABLE, StepSpec

SECONDS = 30.0
ROOT = Path(balsam.__file__).parent.parent
LAUNCHER = """
import select, sys
from balsam.transitions.pool import StepPool
from balsam.transitions.spec import StepSpec
pool = StepPool(1, 1)
pool.submit(StepSpec.from_json(sys.argv[1]))
select.select(pool.fds(), [], [])
"""


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[StepPool]:
    pool = StepPool(size=2, crash_limit=3, log=tmp_path / "steps.log")
    yield pool
    pool.close(5.0)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.fixture
def step(tmp_path: Path) -> Callable[..., StepSpec]:
    numbers = iter(range(1, 1000))

    def make(command: str = "true", **fields: Any) -> StepSpec:
        number = next(numbers)
        workdir = tmp_path / f"job_{number:08d}"
        workdir.mkdir()
        given: dict[str, Any] = {
            "token": f"pool-{os.getpid()}-{tmp_path.name}-{number}",
            "job_id": number,
            "kind": PREPROCESS,
            "label": f"[job | {number:08d}]",
            "state": states.STAGED_IN,
            "done_state": states.PREPROCESSED,
            "workdir": workdir.name,
            "data_dir": str(tmp_path),
            "command": command,
            **fields,
        }
        return StepSpec(**given)

    return make


def drain(pool: StepPool, todo: list[StepSpec]) -> dict[int, Outcome]:
    """Run all steps; each must come back exactly once."""
    expected = sorted(spec.job_id for spec in todo)
    waiting = list(todo)
    outcomes: dict[int, Outcome] = {}
    deadline = time.monotonic() + SECONDS
    while len(outcomes) < len(expected):
        while waiting and pool.capacity:
            pool.submit(waiting.pop(0))
        for spec, outcome in settle(pool, deadline):
            assert spec.job_id not in outcomes
            outcomes[spec.job_id] = outcome
    assert sorted(outcomes) == expected
    assert pool.pending() == []
    return outcomes


def settle(pool: StepPool, deadline: float) -> list[tuple[StepSpec, Outcome]]:
    """One turn of the event loop: wait for the pool as the launcher does, then poll it."""
    now = time.monotonic()
    assert now < deadline, f"steps that never came back: {pool.pending()}"
    until = deadline if pool.deadline is None else min(deadline, pool.deadline)
    select.select(pool.fds(), [], [], max(0.0, until - now))
    return pool.poll()


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + SECONDS
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < deadline, f"{path} was never written"
        select.select([], [], [], 0.005)
    return path.read_text()


def test_no_worker_before_the_first_step(pool: StepPool) -> None:
    assert pool.capacity == 3
    assert pool.poll() == []
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_every_bad_hook_fails_alone(pool: StepPool, step: Callable[..., StepSpec]) -> None:
    good = [step(f"echo {number}") for number in range(6)]
    bad = {
        "exit code 3": step("sh -c 'exit 3'"),
        "time limit of 0.3 s": step("sleep 60", time_limit=0.3),
        "no-such-hook": step("no-such-hook"),
        "SIGKILL": step("sh -c 'kill -9 $$'"),
        "No closing quotation": step("echo 'it"),
        "File name too long": step(kind=STAGE_IN, workdir="x" * 300),
    }
    steps = [item for pair in zip(good, bad.values(), strict=True) for item in pair]
    outcomes = drain(pool, steps)
    for reason, spec in bad.items():
        assert outcomes[spec.job_id].state == states.FAILED
        assert reason in outcomes[spec.job_id].message
    for spec in good:
        assert outcomes[spec.job_id] == Outcome(states.PREPROCESSED)


def test_a_hook_that_kills_its_worker_is_given_up(
    pool: StepPool, step: Callable[..., StepSpec], tmp_path: Path
) -> None:
    killer = step(f"sh -c 'echo >> {tmp_path}/runs; kill -9 $PPID; sleep 60'")
    others = [step() for _ in range(6)]
    outcomes = drain(pool, [killer, *others])
    failed = outcomes.pop(killer.job_id)
    assert failed.state == states.FAILED
    assert failed.data == {"cause": states.HOOK, "crashes": 3}
    assert "ended 3 times (signal 9 (SIGKILL))" in failed.message
    assert "steps.log" in failed.message
    assert (tmp_path / "runs").read_text() == "\n" * 3
    assert {outcome.state for outcome in outcomes.values()} == {states.PREPROCESSED}
    assert marked_processes(STEP_VARIABLE, killer.token) == []


def test_a_killed_worker_is_replaced_and_its_step_done_again(
    pool: StepPool, step: Callable[..., StepSpec], tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    script = tmp_path / "hook.sh"
    script.write_text(
        f"if [ -e {first} ]; then echo again > {second}; exit 0; fi\n"
        f"echo $PPID $$ > {first}; sleep 60\n"
    )
    victim = step(f"sh {script}")
    neighbour = step(f"sh -c 'echo $PPID $$ > {tmp_path}/neighbour; sleep 60'")
    pool.submit(victim)
    pool.submit(neighbour)
    worker, _ = map(int, wait_for(first).split())
    neighbour_worker, neighbour_hook = map(int, wait_for(tmp_path / "neighbour").split())
    os.kill(worker, signal.SIGKILL)
    deadline = time.monotonic() + SECONDS
    finished: list[tuple[StepSpec, Outcome]] = []
    while not finished:
        finished = settle(pool, deadline)
    assert finished == [(victim, Outcome(states.PREPROCESSED))]
    assert second.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)
    assert marked_processes(STEP_VARIABLE, victim.token) == []
    assert neighbour_hook in marked_processes(STEP_VARIABLE, neighbour.token)
    os.kill(neighbour_worker, 0)


def test_a_lot_of_output_and_large_orders(
    pool: StepPool, step: Callable[..., StepSpec], tmp_path: Path
) -> None:
    env = {f"BIG_{number}": "x" * 100_000 for number in range(8)}
    talker = step("sh -c 'yes | head -c 5000000; exit 1'", env=env)
    outcomes = drain(pool, [talker, step(env=env), step()])
    assert outcomes[talker.job_id].data["tail"].count("y") == 16
    assert (tmp_path / talker.workdir / "preprocess.log").stat().st_size > 5_000_000
    assert [outcome.state for outcome in outcomes.values()].count(states.PREPROCESSED) == 2


def test_cancel(pool: StepPool, step: Callable[..., StepSpec], tmp_path: Path) -> None:
    running = [step(f"sh -c 'echo > {tmp_path}/{name}; sleep 60'") for name in "ab"]
    queued = step()
    for spec in (*running, queued):
        pool.submit(spec)
    assert pool.capacity == 0
    with pytest.raises(LaunchError, match="full"):
        pool.submit(step())
    wait_for(tmp_path / "a")
    assert pool.cancel(running[0].job_id)
    assert not pool.cancel(12345)
    deadline = time.monotonic() + SECONDS
    outcomes: dict[int, Outcome] = {}
    while len(outcomes) < 2:
        outcomes |= {spec.job_id: outcome for spec, outcome in settle(pool, deadline)}
    assert outcomes[running[0].job_id].data == {"cause": states.KILLED}
    assert outcomes[queued.job_id].state == states.PREPROCESSED
    assert marked_processes(STEP_VARIABLE, running[0].token) == []
    last = [step(f"sh -c 'echo > {tmp_path}/c; sleep 60'"), step(), step()]
    pool.submit(last[0])
    wait_for(tmp_path / "c")
    pool.submit(last[1])
    assert pool.cancel(last[1].job_id)
    (spec, outcome), *_ = settle(pool, deadline)
    assert (spec, outcome.data) == (last[1], {"cause": states.KILLED})


def test_close_ends_hooks_and_workers(
    pool: StepPool, step: Callable[..., StepSpec], tmp_path: Path
) -> None:
    stubborn = step(f"sh -c 'trap \"\" TERM; echo > {tmp_path}/s; while :; do sleep 0.05; done'")
    pool.submit(stubborn)
    pool.submit(step("sleep 60"))
    pool.submit(step("sleep 60"))
    wait_for(tmp_path / "s")
    assert pool.close(5.0) == []
    assert marked_processes(STEP_VARIABLE, stubborn.token) == []
    assert pool.capacity == 3


def test_close_by_force(pool: StepPool, step: Callable[..., StepSpec], tmp_path: Path) -> None:
    spec = step(f"sh -c 'echo > {tmp_path}/s; sleep 60'")
    pool.submit(spec)
    wait_for(tmp_path / "s")
    assert pool.close(0.0) == []
    assert marked_processes(STEP_VARIABLE, spec.token) == []


def test_the_death_of_the_launcher_ends_workers_and_hooks(
    tmp_path: Path, step: Callable[..., StepSpec]
) -> None:
    spec = step(f"sh -c 'echo $PPID > {tmp_path}/started; sleep 60'")
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCHER, spec.to_json()], cwd=ROOT)
    worker = int(wait_for(tmp_path / "started"))
    launcher.kill()
    launcher.wait()
    deadline = time.monotonic() + SECONDS
    while marked_processes(STEP_VARIABLE, spec.token) or alive(worker):
        assert time.monotonic() < deadline, "the hook outlived its launcher"
        select.select([], [], [], 0.01)


def alive(pid: int) -> bool:
    try:
        return b"\nState:\tZ" not in Path(f"/proc/{pid}/status").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_workers_that_can_not_start(tmp_path: Path, step: Callable[..., StepSpec]) -> None:
    broken = StepPool(1, 2, python="/bin/false", log=tmp_path / "log")
    missing = StepPool(1, 1, python="/no/such/python")
    for pool, reason in ((broken, "exit code 1"), (missing, "can not be started")):
        spec = step()
        outcome = drain(pool, [spec])[spec.job_id]
        assert outcome.state == states.FAILED and reason in outcome.message
        pool.close(1.0)
