"""Failed attempts in a batch job wait a moment for its end, which may be why they failed."""

from __future__ import annotations

import subprocess
import time
import uuid
from pathlib import Path

import pytest

from balsam import states
from balsam.launcher import doubts
from balsam.launcher.attempts import Attempts
from balsam.launcher.doubts import Doubts
from balsam.launcher.node_pool import Request
from balsam.launcher.tasks import Application
from tests.tools.hands import FakeHands

from .test_attempts import answering_mpirun, attempts, ended, task, until

__all__ = ["attempts"]

BY_TERM = "/bin/sh -c 'kill -TERM $$'"


def doubting(attempts: Attempts, seconds: float) -> Attempts:
    attempts._doubts = Doubts(seconds)
    return attempts


def is_held(attempts: Attempts) -> bool:
    """Whether an attempt has ended that does not count yet."""
    assert not list(attempts.reap())
    return attempts._doubts.deadline is not None


def test_a_stop_is_the_cause_of_what_failed_right_before(attempts: Attempts) -> None:
    doubting(attempts, 60)
    attempts.start(task(1, BY_TERM), Application())
    until(lambda: is_held(attempts))
    # Its share is free, and it still counts as running.
    assert attempts.room() == 2 and attempts.jobs() == {1}
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as another:
        # Its pid may be another's by now, who is left alone.
        attempts._running[1].pid = another.pid
        attempts.stop_requested()
        attempts.stop_all(states.BATCH_TIME_LIMIT, 0.0)
        attempts.timers()
        end = ended(attempts, 1)[1]
        time.sleep(0.05)
        assert another.poll() is None
        another.kill()
    assert end.outcome.state == states.RUN_TIMEOUT
    assert end.outcome.data["cause"] == states.BATCH_TIME_LIMIT
    assert attempts.due() is None and not len(attempts)


def test_a_node_that_is_lost_is_the_cause_too(attempts: Attempts) -> None:
    doubting(attempts, 60)
    attempts.start(task(1, BY_TERM), Application())
    until(lambda: is_held(attempts))
    attempts.endings.leave("n", states.NODE_LOST, 0.0)
    assert ended(attempts, 1)[1].outcome.data["cause"] == states.NODE_LOST


@pytest.mark.parametrize("cause", [states.BATCH_TIME_LIMIT, states.KILLED])
def test_what_the_launcher_does_by_itself_is_not_the_cause(attempts: Attempts, cause: str) -> None:
    doubting(attempts, 0.2)
    attempts.start(task(1, BY_TERM), Application())
    until(lambda: is_held(attempts))
    attempts.stop_all(cause, 0.0)
    attempts.kill_all()
    assert ended(attempts, 1)[1].outcome.data["cause"] == states.SIGNAL


def test_without_news_it_counts_for_what_it_is(attempts: Attempts) -> None:
    doubting(attempts, 0.2)
    began = time.monotonic()
    attempts.start(task(1, BY_TERM), Application())
    until(lambda: is_held(attempts))
    due = attempts.due()
    assert due is not None and due >= began + 0.2
    end = ended(attempts, 1)[1]
    assert time.monotonic() >= due
    assert end.outcome.data["cause"] == states.SIGNAL
    # What was measured is the attempt, not the wait.
    assert end.outcome.data["wall_seconds"] < 0.2


@pytest.mark.parametrize("command", ["/bin/true", "/bin/false", "/bin/sh -c 'kill -9 $$'"])
def test_what_no_scheduler_did_counts_at_once(attempts: Attempts, command: str) -> None:
    doubting(attempts, 60)
    attempts.start(task(1, command), Application())
    assert ended(attempts, 1)


def test_an_mpirun_may_hide_the_signal(attempts: Attempts, tmp_path: Path) -> None:
    doubting(attempts, 60)
    attempts.mpiruns.finder = answering_mpirun(tmp_path)
    for number, command in enumerate(("/bin/sh -c 'exit 255'", "/bin/true")):
        one = task(number, command, request=Request(ranks_per_node=2))
        attempts.start(one, Application())
        if number == 0:
            until(lambda: is_held(attempts))
    assert ended(attempts, 1).keys() == {1}
    attempts.stop_requested()
    attempts.stop_all(states.BATCH_TIME_LIMIT, 0.0)
    assert ended(attempts, 1)[0].outcome.data["cause"] == states.BATCH_TIME_LIMIT


def asking(
    attempts: Attempts, directory: Path, monkeypatch: pytest.MonkeyPatch, seconds: float = 60.0
) -> None:
    """A node that never answers is asked about an mpirun that has failed by now."""
    hands = FakeHands(["n"])
    monkeypatch.setattr(hands, "ask_memory", lambda token, nodes, *more: frozenset(nodes))
    monkeypatch.setattr(doubts, "ANSWER_SECONDS", seconds)
    attempts._doubts = Doubts(0.0, hands)
    attempts.mpiruns.finder = answering_mpirun(directory)
    attempts.start(task(1, "/bin/false", request=Request(ranks_per_node=2)), Application())
    until(lambda: is_held(attempts))


def test_a_node_that_does_not_answer_is_not_waited_for_long(
    attempts: Attempts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = time.monotonic()
    asking(attempts, tmp_path, monkeypatch, 0.3)
    assert ended(attempts, 1)[1].outcome.data["cause"] == states.EXIT
    assert time.monotonic() >= began + 0.3


def test_a_stop_is_not_the_cause_of_what_failed_before_and_is_only_asked_about(
    attempts: Attempts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking(attempts, tmp_path, monkeypatch)
    attempts.stop_requested()
    attempts.stop_all(states.BATCH_TIME_LIMIT, 0.0)
    # Nor is it waited for.
    assert ended(attempts, 1)[1].outcome.data["cause"] == states.EXIT
    assert attempts.due() is None and not len(attempts)


def test_a_node_that_is_lost_while_it_is_asked_is_the_cause(
    attempts: Attempts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking(attempts, tmp_path, monkeypatch)
    attempts.endings.leave("n", states.NODE_LOST, 0.0)
    assert ended(attempts, 1)[1].outcome.data["cause"] == states.NODE_LOST


def test_outside_of_a_batch_job_nothing_waits(attempts: Attempts) -> None:
    attempts.start(task(1, BY_TERM, job_id=uuid.uuid4()), Application())
    assert ended(attempts, 1)[1].outcome.data["cause"] == states.SIGNAL
