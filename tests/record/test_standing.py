"""How far jobs are that somebody waits for, and which jobs those are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from balsam import states
from balsam.core.changes import Changes
from balsam.core.models import BalsamJob
from balsam.core.selection import Selection
from balsam.core.standing import ENDED, FINISHED, RUNNING, Standing, Watched
from balsam.errors import NoSuchJob

pytestmark = pytest.mark.usefixtures("project")
DONE, FAILED, KILLED = states.JOB_FINISHED, states.FAILED, states.USER_KILLED


@pytest.mark.parametrize(
    ("counts", "goal", "any_one", "reached", "success"),
    [
        ({DONE: 2}, ENDED, False, True, True),
        ({DONE: 1, states.RUNNING: 1}, ENDED, False, False, True),
        ({DONE: 1, FAILED: 1}, ENDED, False, True, False),
        ({DONE: 1, KILLED: 1}, ENDED, False, True, False),
        ({DONE: 1, states.READY: 1}, ENDED, True, True, True),
        ({FAILED: 1, states.READY: 1}, ENDED, True, True, False),
        ({states.READY: 2}, ENDED, True, False, False),
        ({FAILED: 1, states.READY: 9}, FINISHED, False, True, False),
        ({DONE: 1, states.READY: 9}, FINISHED, False, False, True),
        ({DONE: 9}, FINISHED, False, True, True),
        ({FAILED: 1, states.READY: 1}, FINISHED, True, False, False),
        ({FAILED: 1, DONE: 1}, FINISHED, True, True, True),
        ({FAILED: 2}, FINISHED, True, True, False),
        ({states.RUNNING: 1, DONE: 1, states.RESTART_READY: 1}, RUNNING, False, True, True),
        ({states.RUNNING: 1, states.PREPROCESSED: 1}, RUNNING, False, False, True),
        ({states.RUNNING: 1, states.PREPROCESSED: 1}, RUNNING, True, True, True),
        ({states.RUNNING: 1, FAILED: 1}, RUNNING, False, True, False),
    ],
)
def test_goals(
    counts: dict[str, int], goal: str, any_one: bool, reached: bool, success: bool
) -> None:
    standing = Standing(counts)
    assert standing.reached(goal, any_one) is reached
    assert standing.success(goal, any_one) is success


def test_jobs_that_are_named_stay_the_same(put: Callable[..., None]) -> None:
    first = BalsamJob.objects.create(name="a", workflow="w")
    by_id, by_name = Watched(Selection(words=(str(first.pk),))), Watched(Selection(names=("a",)))
    waiting = Watched(Selection(states=(states.CREATED,)))
    second = BalsamJob.objects.create(name="a", workflow="w")
    assert [one.standing().total for one in (by_id, by_name, waiting)] == [1, 2, 1]
    put(first, state=DONE)
    put(second, state=FAILED)
    assert (waiting.standing().finished, by_id.standing().finished) == (1, 1)
    assert by_name.standing() == Standing({DONE: 1, FAILED: 1})
    with pytest.raises(NoSuchJob):
        Watched(Selection(words=("nosuch",)))


def test_jobs_that_are_removed_will_not_finish() -> None:
    made = [BalsamJob.objects.create(name="a") for _ in range(2)]
    named = Watched(Selection(ids=tuple(str(job.pk) for job in made)))
    found = Watched(Selection(names=("a",)))
    made[0].delete()
    assert named.standing() == Standing({states.CREATED: 1}, removed=1)
    assert not named.standing().success(ENDED) and not named.standing().reached(ENDED)
    assert found.standing() == Standing({states.CREATED: 1})


def test_changes_of_others_are_noticed(script: Any) -> None:
    changes = Changes()
    assert not changes.wait(0)
    BalsamJob.objects.create(name="mine")
    assert not changes.wait(0)
    script(
        "from balsam.conf import bootstrap; bootstrap.setup()\n"
        "from balsam.core.models import BalsamJob; BalsamJob.objects.create(name='theirs')"
    )
    assert changes.wait(30)
    assert not changes.wait(0)
