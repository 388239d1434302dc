"""Futures over jobs that another process moves."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

import balsam
from balsam import states
from balsam.core.models import BalsamJob
from balsam.errors import InvalidValue, UsageError
from balsam.launcher.futures import FutureTask, TaskFailed, wait

ROOT = str(balsam.__path__[0]).removesuffix("/balsam")
SECONDS = 30.0
MOVER = """
import sys
from balsam.core.models import BalsamJob
print("ready", flush=True)
sys.stdin.readline()
for pair in sys.argv[1:]:
    key, state = pair.split("=")
    job = BalsamJob.objects.get(pk=key)
    job.delete() if state == "DELETED" else job.update_state(state)
"""
Put = Callable[..., None]


class Mover:
    """A second process that waits for a word, then moves jobs."""

    def __init__(self, **moves: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", MOVER, *(f"{key[1:]}={to}" for key, to in moves.items())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        assert self.process.stdout and self.process.stdout.readline() == "ready\n"

    def go(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def __enter__(self) -> Mover:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate(timeout=SECONDS)
        assert self.process.returncode == 0


def future(job: BalsamJob, calls: list[str], *, fails: bool = True) -> FutureTask:
    def done(job: BalsamJob, *args: Any, **kwargs: Any) -> str:
        calls.append(f"done {job.name}")
        return f"{job.name} {args} {kwargs}"

    def failed(job: BalsamJob, *args: Any, **kwargs: Any) -> str:
        calls.append(f"failed {job.name}")
        return "failed"

    return FutureTask(job, done, failed if fails else None, 1, two=2)


def jobs(number: int) -> list[BalsamJob]:
    return [BalsamJob.objects.create(name=f"j{index}") for index in range(number)]


def test_a_result_waits_for_another_process(project: Any) -> None:
    (job,) = jobs(1)
    calls: list[str] = []
    task = future(job, calls)
    assert task.active and not task.done and calls == []
    with Mover(**{f"j{job.pk}": states.JOB_FINISHED}) as mover:
        mover.go()
        assert task.result(SECONDS) == "j0 (1,) {'two': 2}"
    assert task.result() == task.result(0) == "j0 (1,) {'two': 2}"
    assert calls == ["done j0"]
    assert task.done and not (task.active or task.failed or task.cancelled)


def test_wait_returns_with_the_first_or_with_all(project: Any) -> None:
    first, second, third = jobs(3)
    tasks = [future(job, []) for job in (first, second, third)]
    with Mover(**{f"j{second.pk}": states.FAILED}) as mover:
        mover.go()
        result = wait(tasks, SECONDS, "ANY_COMPLETED", poll_period=0.05)
    assert (result.active, result.failed) == ([tasks[0], tasks[2]], [tasks[1]])
    again = wait(tasks, 0)
    assert again.failed == [tasks[1]]
    moves = {f"j{first.pk}": states.JOB_FINISHED, f"j{third.pk}": states.USER_KILLED}
    with Mover(**moves) as mover:
        mover.go()
        result = wait(tasks, SECONDS, "ALL_COMPLETED", poll_period=0.05)
    assert result == ([], [tasks[0]], [tasks[1]], [tasks[2]])


def test_waiting_ends_with_its_timeout(project: Any) -> None:
    tasks = [future(job, []) for job in jobs(2)]
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="2 of 2"):
        wait(tasks, 0.05)
    with pytest.raises(TimeoutError):
        tasks[0].result(timeout=0.05)
    with pytest.raises(TimeoutError):
        tasks[0].result(timeout=0)
    assert time.monotonic() - began < SECONDS


def test_nothing_to_wait_for_returns_at_once(project: Any) -> None:
    assert wait([]) == wait([], None, "ALL_COMPLETED") == ([], [], [], [])
    with pytest.raises(InvalidValue):
        wait([], 1, "SOME_COMPLETED")


def test_a_failure_without_callback_is_raised_each_time(project: Any) -> None:
    (job,) = jobs(1)
    task = future(job, [], fails=False)
    job.update_state(states.FAILED, "the reason")
    for _ in range(2):
        with pytest.raises(TaskFailed, match="the reason"):
            task.result()
    assert task.failed


def test_a_failure_with_callback_gives_its_value_once(project: Any) -> None:
    (job,) = jobs(1)
    calls: list[str] = []
    task = future(job, calls)
    job.update_state(states.FAILED)
    assert task.result() == task.result() == "failed"
    assert calls == ["failed j0"]


def test_a_callback_that_raises_is_called_once(project: Any) -> None:
    (job,) = jobs(1)
    calls = []

    def broken(job: BalsamJob) -> None:
        calls.append(job)
        raise ZeroDivisionError

    task = FutureTask(job, broken)
    job.update_state(states.JOB_FINISHED)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            task.result()
    assert len(calls) == 1


def test_cancelling_kills_everything_below(project: Any) -> None:
    (job,) = jobs(1)
    BalsamJob.objects.create(parents=[job])
    calls: list[str] = []
    task = future(job, calls)
    task.cancel()
    assert task.cancelled and task.result() is None and calls == []
    assert BalsamJob.objects.counts_by_state() == {states.USER_KILLED: 2}


def test_a_deleted_job_counts_as_cancelled(project: Any) -> None:
    first, second = jobs(2)
    tasks = [future(first, []), future(second, [])]
    with Mover(**{f"j{first.pk}": "DELETED"}) as mover:
        mover.go()
        result = wait(tasks, SECONDS, poll_period=0.05)
    assert result.cancelled == [tasks[0]] and result.active == [tasks[1]]
    assert tasks[0].result() is None


def test_a_look_at_many_futures_costs_one_query(project: Any) -> None:
    made = BalsamJob.objects.bulk_create([BalsamJob(name=str(number)) for number in range(500)])
    tasks = [future(job, []) for job in made]
    made[7].update_state(states.JOB_FINISHED)
    with CaptureQueriesContext(connection) as queries:
        assert wait(tasks).done == [tasks[7]]
    looks = [query for query in queries if "balsam_job" in query["sql"]]
    assert len(looks) == 1


def test_a_job_that_is_not_saved_has_no_future(project: Any) -> None:
    with pytest.raises(UsageError, match="not saved"):
        FutureTask(BalsamJob(), print)


def test_a_future_is_of_a_job_and_its_callbacks_are_functions(project: Any) -> None:
    job = BalsamJob.objects.create(name="a", direct_command="/bin/true")
    with pytest.raises(InvalidValue, match=f"of a BalsamJob, not of '{job.job_id}'"):
        FutureTask(str(job.job_id), print)  # type: ignore[arg-type]
    for given in ((1,), (print, "x")):
        with pytest.raises(InvalidValue, match="A callback is a function, not"):
            FutureTask(job, *given)  # type: ignore[arg-type]
