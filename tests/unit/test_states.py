"""The state machine as data is whole: every state is reachable, and every job can end."""

from __future__ import annotations

import itertools

import pytest

from balsam import states


def reach(start: str, *actors: str) -> set[str]:
    """The states that ``actors`` can bring a job to."""
    seen, new = {start}, [start]
    while new:
        here = new.pop()
        for actor in actors:
            below = set(states.MOVES[actor][here]) - seen
            seen |= below
            new.extend(below)
    return seen


def test_each_state_is_listed_once_under_its_own_name() -> None:
    assert len(set(states.STATES)) == len(states.STATES) == 14
    assert all(getattr(states, state) == state for state in states.STATES)


@pytest.mark.parametrize("actor", [states.BALSAM, states.USER])
def test_moves_name_every_state_and_no_other(actor: str) -> None:
    assert set(states.MOVES[actor]) == set(states.STATES)
    for old, new in states.MOVES[actor].items():
        assert old in states.STATES and set(new) <= set(states.STATES)
        assert len(set(new)) == len(new)


def test_groups_split_the_states() -> None:
    groups = (
        states.ACTIVE_STATES,
        states.RUNNABLE_STATES,
        states.PROCESSABLE_STATES,
        states.END_STATES,
    )
    assert sorted(itertools.chain(*groups)) == sorted(states.STATES)
    assert set(states.BROKEN_STATES) < set(states.END_STATES)
    assert set(states.WAITING_STATES) < set(states.PREPARING_STATES)


def test_balsam_alone_brings_a_job_everywhere_but_to_a_kill() -> None:
    assert reach(states.CREATED, states.BALSAM) == set(states.STATES) - {states.USER_KILLED}


def test_what_has_ended_stays_so_for_balsam_and_what_has_not_can_always_fail() -> None:
    for state in states.STATES:
        moves = states.BALSAM_MOVES[state]
        assert (states.FAILED in moves) == bool(moves) == (state not in states.END_STATES)


def test_a_user_can_kill_whatever_is_not_killed_yet() -> None:
    for state in states.STATES:
        assert states.is_legal(state, states.USER_KILLED, states.USER) == (
            state != states.USER_KILLED
        )
    assert states.USER_MOVES[states.USER_KILLED] == ()


def test_nobody_but_balsam_starts_or_ends_a_run() -> None:
    for state in states.STATES:
        for new in (states.RUNNING, states.RUN_ERROR, states.RUN_TIMEOUT):
            assert not states.is_legal(state, new, states.USER)
    assert states.USER_MOVES[states.RUNNING] == (states.USER_KILLED,)


def test_staying_put_is_no_move() -> None:
    for actor, state in itertools.product(states.MOVES, states.STATES):
        assert not states.is_legal(state, state, actor)


def test_an_unknown_state_goes_nowhere() -> None:
    assert not states.is_legal("NOWHERE", states.READY)


def test_causes_are_a_closed_list() -> None:
    assert len(set(states.CAUSES)) == len(states.CAUSES) == 15
    assert all(getattr(states, cause.upper()) == cause for cause in states.CAUSES)
