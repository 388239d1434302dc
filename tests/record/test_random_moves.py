"""Whatever Balsam and users do in whatever order, history is a path of the state machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from balsam import states
from balsam.core import lease, sessions
from balsam.core.advance import Move, advance, advance_set
from balsam.core.events import Hop
from balsam.core.lease import Scope
from balsam.core.models import BalsamJob, EventLog
from balsam.core.sessions import Life
from balsam.errors import IllegalMove, JobChanged

STATE = st.sampled_from(states.STATES)
PICK = st.integers(0, 1000)


class Record(RuleBasedStateMachine):
    """Jobs in the record, and a model of them in memory: key -> [state, attempt, session]."""

    sessions = Bundle("sessions")

    def __init__(self) -> None:
        super().__init__()
        BalsamJob.objects.all().delete()
        self.model: dict[int, list[Any]] = {}
        self.ended: set[int] = set()

    def _some(self, pick: int) -> int | None:
        return sorted(self.model)[pick % len(self.model)] if self.model else None

    @rule(number=st.integers(1, 3))
    def add(self, number: int) -> None:
        for job in BalsamJob.objects.bulk_create([BalsamJob() for _ in range(number)]):
            self.model[job.pk] = [states.CREATED, 0, None]

    @rule(target=sessions)
    def begin(self) -> int:
        return sessions.open_session(Life("test", "host", "machine", 1, 1))

    @rule(session=sessions, limit=st.integers(1, 3))
    def take(self, session: int, limit: int) -> None:
        runnable = [
            key
            for key, (state, _, holder) in sorted(self.model.items())
            if state in states.RUNNABLE_STATES and holder is None
        ]
        taken = [row[0] for row in lease.lease_runnable(session, Scope(), limit)]
        assert taken == ([] if session in self.ended else runnable[:limit])
        for key in taken:
            self.model[key][2] = session

    @rule(session=sessions)
    def end(self, session: int) -> None:
        sessions.close_session(session)
        self.ended.add(session)
        for row in self.model.values():
            if row[2] == session:
                row[2] = None

    @rule(pick=PICK, new=STATE, keep=st.booleans(), stale=st.booleans())
    def move_by_balsam(self, pick: int, new: str, keep: bool, stale: bool) -> None:
        key = self._some(pick)
        if key is None:
            return
        state, attempt, session = self.model[key]
        then = attempt + 1 if new == states.RUNNING else attempt
        shown = attempt + stale
        move = Move(key, state, [Hop(new)], shown, session, keep_lease=keep, next_attempt=then)
        if not states.is_legal(state, new):
            with pytest.raises(IllegalMove):
                advance([move])
        elif stale:
            assert advance([move]) == set()
        else:
            assert advance([move]) == {key}
            self.model[key] = [new, then, session if keep else None]

    @rule(old=STATE, new=STATE)
    def move_a_set(self, old: str, new: str) -> None:
        keys = list(self.model)
        if not states.is_legal(old, new):
            with pytest.raises(IllegalMove):
                advance_set(keys, old, [Hop(new)])
            return
        moved = {key for key, (state, _, held) in self.model.items() if state == old and not held}
        assert advance_set(keys, old, [Hop(new)]) == moved
        for key in moved:
            self.model[key][0] = new

    @rule(pick=PICK, new=STATE)
    def move_by_user(self, pick: int, new: str) -> None:
        key = self._some(pick)
        if key is None:
            return
        state = self.model[key][0]
        job = BalsamJob.objects.get(pk=key)
        stays = new == state or (new == states.USER_KILLED and state in states.END_STATES)
        if stays or states.is_legal(state, new, states.USER):
            job.update_state(new)
            self.model[key][0] = state if stays else new
        else:
            with pytest.raises((IllegalMove, JobChanged)):
                job.update_state(new)

    @rule(pick=PICK)
    def delete(self, pick: int) -> None:
        key = self._some(pick)
        if key is not None:
            BalsamJob.objects.filter(pk=key).delete()
            del self.model[key]

    @invariant()
    def record_and_model_agree(self) -> None:
        rows = BalsamJob.objects.values_list("id", "state", "attempt", "session_id")
        assert {row[0]: list(row[1:]) for row in rows} == self.model

    @invariant()
    def history_is_a_path_that_ends_in_the_state(self) -> None:
        here: dict[int, str] = {}
        events = EventLog.objects.order_by("id").values_list("job_id", "from_state", "to_state")
        for job, old, new in events:
            assert old == here.get(job, "")
            assert not old or any(states.is_legal(old, new, actor) for actor in states.MOVES)
            assert old or new == states.CREATED
            here[job] = new
        assert here == {key: row[0] for key, row in self.model.items()}


@pytest.fixture
def quick() -> Iterator[settings]:
    yield settings(
        max_examples=60,
        stateful_step_count=30,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def test_history_is_always_a_path(project: Any, quick: settings) -> None:
    run_state_machine_as_test(Record, settings=quick)
