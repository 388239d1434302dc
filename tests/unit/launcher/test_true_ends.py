"""The true end of a job whose launcher died: from where the record shows it to where it got."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam import states
from balsam.core.advance import Move
from balsam.core.backoff import either_loss
from balsam.launcher import journal
from balsam.launcher.entries import End, Entry, Start, StepEnd, from_plain
from balsam.launcher.ledger import Ledger
from balsam.launcher.true_ends import Loss, true_end
from balsam.outcomes import Outcome

SESSION, JOB, CRASH_LIMIT = 3, 8, 5
RULE = either_loss(states.LAUNCHER_LOST, CRASH_LIMIT)


def end_of(state: str, attempt: int, *entries: Entry, crashes: int = 0) -> Move | None:
    return true_end(SESSION, JOB, (state, attempt, 0), entries, Loss(crashes + 1, RULE))


def start(attempt: int = 1) -> Start:
    before = states.PREPROCESSED if attempt == 1 else states.RESTART_READY
    return Start(JOB, before, attempt - 1, 1, 1.0)


def end(attempt: int = 1, state: str = states.RUN_DONE, code: int = 0) -> End:
    return End(JOB, states.RUNNING, attempt, Outcome(state, "", {"returncode": code}), 2.0)


def step(old: str, new: str, attempt: int = 0) -> StepEnd:
    return StepEnd(JOB, old, attempt, Outcome(new), 1.0)


def way(move: Move | None) -> list[str]:
    assert move is not None
    return [move.old_state, *(hop.state for hop in move.hops)]


def test_a_job_that_was_only_leased_stays_where_it_is() -> None:
    assert end_of(states.PREPROCESSED, 0) is None


def test_an_uncommitted_run_is_committed_whole() -> None:
    move = end_of(states.PREPROCESSED, 0, start(), end(code=4))
    assert way(move) == [states.PREPROCESSED, states.RUNNING, states.RUN_DONE]
    assert move is not None
    assert (move.attempt, move.next_attempt, move.return_code, move.lost_attempts) == (0, 1, 4, 0)


@pytest.mark.parametrize("entries", [(start(), end()), (end(),)])
def test_of_a_committed_start_only_the_end_is_replayed(entries: tuple[Entry, ...]) -> None:
    move = end_of(states.RUNNING, 1, *entries)
    assert way(move) == [states.RUNNING, states.RUN_DONE]


@pytest.mark.parametrize(("state", "attempt"), [(states.RUNNING, 1), (states.PREPROCESSED, 0)])
def test_a_run_without_an_outcome_is_lost_and_run_again(state: str, attempt: int) -> None:
    move = end_of(state, attempt, start())
    assert way(move)[-2:] == [states.RUNNING, states.RESTART_READY]
    assert move is not None and (move.next_attempt, move.lost_attempts) == (1, 1)
    assert move.hops[-1].data == {"cause": states.LAUNCHER_LOST, "attempt": 1}


def test_at_the_crash_limit_it_fails() -> None:
    move = end_of(states.RUNNING, 5, crashes=CRASH_LIMIT - 1)
    assert way(move) == [states.RUNNING, states.FAILED]
    assert move is not None and "crash_limit" in move.hops[0].message
    assert way(end_of(states.RUNNING, 4, crashes=CRASH_LIMIT - 2))[-1] == states.RESTART_READY


def test_a_replayed_stop_of_the_launcher_uses_up_no_attempt() -> None:
    data = {"cause": states.BATCH_TIME_LIMIT, "returncode": 0}
    stopped = End(JOB, states.RUNNING, 1, Outcome(states.RUN_TIMEOUT, "", data), 2.0)
    move = end_of(states.PREPROCESSED, 0, start(), stopped)
    assert way(move)[-1] == states.RUN_TIMEOUT
    assert move is not None and move.lost_attempts == 1


def test_entries_of_an_earlier_attempt_are_not_taken_for_this_one() -> None:
    entries = (start(1), end(1, states.RUN_TIMEOUT), start(2))
    assert way(end_of(states.RUNNING, 2, *entries)) == [states.RUNNING, states.RESTART_READY]
    entries = (start(1), end(1, states.RUN_TIMEOUT), start(2), end(2))
    assert way(end_of(states.RUNNING, 2, *entries)) == [states.RUNNING, states.RUN_DONE]


def test_the_exit_code_of_a_hook_does_not_replace_that_of_the_attempt() -> None:
    failed = Outcome(states.FAILED, "", {"cause": states.HOOK, "returncode": 3})
    hook = StepEnd(JOB, states.RUN_DONE, 1, failed, 3.0)
    move = end_of(states.PREPROCESSED, 0, start(1), end(1, code=0), hook)
    assert move is not None and move.return_code == 0


def test_a_step_is_replayed_unless_a_user_moved_the_job() -> None:
    done = step(states.READY, states.STAGED_IN)
    assert way(end_of(states.READY, 0, done)) == [states.READY, states.STAGED_IN]
    assert end_of(states.USER_KILLED, 0, done) is None
    assert end_of(states.STAGED_IN, 0, done) is None


@given(committed=st.integers(0, 2), repeated=st.integers(0, 2))
def test_recovering_twice_or_from_anywhere_leads_to_the_same_end(
    committed: int, repeated: int
) -> None:
    """Whatever part of its way was committed before, and however often entries were written."""
    entries = [start(), end()]
    rows = [(states.PREPROCESSED, 0), (states.RUNNING, 1), (states.RUN_DONE, 1)]
    move = end_of(*rows[committed], *entries, *entries[:repeated])
    if committed == 2:
        assert move is None
    else:
        assert way(move)[-1] == states.RUN_DONE


def test_what_a_ledger_writes_is_what_recovery_reads(tmp_path: Path) -> None:
    given_: list[Entry] = [start(), end(), step(states.READY, states.STAGED_IN)]
    path = tmp_path / "j"
    book = journal.Journal(path)
    ledger = Ledger(book, SESSION, 10)
    for entry in given_:
        ledger.add(entry)
    ledger.write()
    book.close(keep=True)
    assert [from_plain(plain) for plain in journal.read(path)] == given_


@pytest.mark.parametrize(
    "plain",
    [
        {"kind": "start", "job": 1},
        {"kind": "end", "job": 1, "outcome": 7},
        {"kind": "end", "job": 1},
        {"kind": "what", "job": 1, "outcome": {"state": "FAILED"}},
    ],
)
def test_a_line_of_another_version_is_passed_over(plain: dict[str, Any]) -> None:
    assert from_plain(plain) is None
