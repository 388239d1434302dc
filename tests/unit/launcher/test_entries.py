"""From entries to moves: a start and its end are one way, and every way is legal."""

from __future__ import annotations

import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from balsam import states
from balsam.launcher.entries import End, Entry, Start, StepEnd, to_moves
from balsam.outcomes import Outcome

SESSION = 5


def start(job: int, attempt: int = 1) -> Start:
    before = states.PREPROCESSED if attempt == 1 else states.RESTART_READY
    return Start(job, before, attempt - 1, 4711, time.time(), "Serial run on n1")


def end(job: int, attempt: int = 1, state: str = states.RUN_DONE, **data: Any) -> End:
    return End(job, states.RUNNING, attempt, Outcome(state, "", data), time.time())


def test_a_start_keeps_the_lease_and_counts_the_attempt() -> None:
    (move,) = to_moves([start(1)], SESSION)
    assert (move.old_state, move.attempt, move.next_attempt) == (states.PREPROCESSED, 0, 1)
    assert move.keep_lease and move.session == SESSION
    assert [hop.state for hop in move.hops] == [states.RUNNING]
    assert move.hops[0].data == {"attempt": 1, "pid": 4711}


def test_an_end_gives_the_lease_back_and_the_exit_code() -> None:
    (move,) = to_moves([end(1, 2, states.RUN_ERROR, returncode=3)], SESSION)
    assert (move.old_state, move.attempt, move.next_attempt) == (states.RUNNING, 2, None)
    assert not move.keep_lease and move.return_code == 3


def test_a_start_and_its_end_are_one_way() -> None:
    (move,) = to_moves([start(1, 3), end(1, 3, returncode=0)], SESSION)
    assert (move.old_state, move.attempt, move.next_attempt) == (states.RESTART_READY, 2, 3)
    assert [hop.state for hop in move.hops] == [states.RUNNING, states.RUN_DONE]
    assert not move.keep_lease and move.return_code == 0
    assert move.hops[0].time is not None and move.hops[1].time is not None
    assert move.hops[0].time <= move.hops[1].time


def test_only_what_was_stopped_with_its_launcher_is_no_attempt_of_the_user() -> None:
    causes = (states.BATCH_TIME_LIMIT, states.JOB_TIME_LIMIT)
    moves = [
        *to_moves([start(1), end(1, state=states.RUN_TIMEOUT, cause=causes[0])], SESSION),
        *to_moves([start(2), end(2, state=states.RUN_TIMEOUT, cause=causes[1])], SESSION),
    ]
    assert [move.lost_attempts for move in moves] == [1, 0]


def test_a_step_moves_from_where_it_was_leased() -> None:
    outcome = Outcome(states.STAGED_IN, "2 files linked")
    (move,) = to_moves([StepEnd(1, states.READY, 0, outcome, time.time())], SESSION)
    assert (move.old_state, move.hops[0].state, move.attempt) == (states.READY, states.STAGED_IN, 0)
    assert move.return_code is None


def test_the_exit_code_of_a_hook_is_not_that_of_the_job() -> None:
    outcome = Outcome(states.FAILED, "", {"cause": states.HOOK, "returncode": 3})
    (move,) = to_moves([StepEnd(1, states.RUN_DONE, 1, outcome, time.time())], SESSION)
    assert move.return_code is None


jobs = st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(1, 4)), min_size=1, max_size=20)


@given(kinds=jobs, order=st.randoms(use_true_random=False))
def test_each_job_moves_once_and_legally(kinds: list[tuple[bool, bool, int]], order: Any) -> None:
    begins: list[Entry] = []
    ends: list[Entry] = []
    for job, (begun, ended, attempt) in enumerate(kinds):
        if begun:
            begins.append(start(job, attempt))
        if ended or not begun:
            ends.append(end(job, attempt))
    order.shuffle(begins)
    order.shuffle(ends)
    moves = to_moves([*begins, *ends], SESSION)
    assert sorted(move.job for move in moves) == list(range(len(kinds)))
    for move in moves:
        here = move.old_state
        for hop in move.hops:
            assert states.is_legal(here, hop.state)
            here = hop.state
        assert move.keep_lease == (here == states.RUNNING)
