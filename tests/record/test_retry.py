"""Retries: a job goes on with what failed, and its children with it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from balsam import states
from balsam.core.advance import advance_set
from balsam.core.events import Hop
from balsam.core.models import ApplicationDefinition, BalsamJob
from balsam.launcher import dag

#: How far a job came before it failed, and where it goes on.
CASES = [
    ([], states.CREATED),
    ([states.READY], states.READY),
    ([states.READY, states.STAGED_IN], states.STAGED_IN),
    ([states.READY, states.STAGED_IN, states.PREPROCESSED], states.PREPROCESSED),
]
RUN = [states.READY, states.STAGED_IN, states.PREPROCESSED, states.RUNNING]
CASES += [
    (RUN, states.RESTART_READY),
    ([*RUN, states.RUN_ERROR], states.RESTART_READY),
    ([*RUN, states.RUN_TIMEOUT], states.RESTART_READY),
    ([*RUN, states.RUN_TIMEOUT, states.RESTART_READY], states.RESTART_READY),
    ([*RUN, states.RUN_DONE], states.RUN_DONE),
    ([*RUN, states.RUN_DONE, states.POSTPROCESSED], states.POSTPROCESSED),
]


def moved(job: BalsamJob, path: list[str]) -> None:
    advance_set([job.pk], job.state, [Hop(state) for state in path])
    job.refresh_from_db()


@pytest.mark.parametrize(("path", "goal"), CASES, ids=lambda case: str(case)[-24:])
def test_a_job_goes_on_with_the_step_that_failed(
    app: ApplicationDefinition, path: list[str], goal: str
) -> None:
    job = dag.add_job("j", "w", "echo")
    moved(job, [*path, states.FAILED])
    assert BalsamJob.objects.retry(message="again").jobs == 1
    job.refresh_from_db()
    assert job.state == goal
    assert job.state_history.splitlines()[-1].endswith(f"{goal}] again")
    if goal != states.CREATED:
        moved(job, [states.FAILED])
        BalsamJob.objects.retry(from_start=True)
        job.refresh_from_db()
        assert job.state == states.CREATED


def test_every_state_has_a_place_to_go_on() -> None:
    assert set(states.RETRY_FROM) == set(states.STATES) - set(states.END_STATES)


def test_a_note_after_the_end_does_not_count(app: ApplicationDefinition) -> None:
    from balsam.core.events import note

    job = dag.add_job("j", "w", "echo")
    moved(job, RUN)
    job.update_state(states.USER_KILLED)
    note(job.pk, states.USER_KILLED, "ended by signal 15", {"cause": states.KILLED})
    BalsamJob.objects.retry()
    job.refresh_from_db()
    assert job.state == states.RESTART_READY


def test_a_finished_or_waiting_job_is_left_alone(app: ApplicationDefinition) -> None:
    done, waiting = dag.add_job("a", "w", "echo"), dag.add_job("b", "w", "echo")
    done.update_state(states.JOB_FINISHED)
    assert BalsamJob.objects.retry().jobs == 0
    done.refresh_from_db()
    waiting.refresh_from_db()
    assert (done.state, waiting.state) == (states.JOB_FINISHED, states.CREATED)


def test_children_that_failed_for_their_parents_go_on_when_all_of_them_do(
    app: ApplicationDefinition,
) -> None:
    top, other, child, below, guilty = (
        dag.add_job(name, "w", "echo") for name in ("top", "other", "child", "below", "guilty")
    )
    for parent, one in [(top, child), (other, child), (child, below), (top, guilty)]:
        dag.add_dependency(parent, one)
    moved(guilty, [states.FAILED])
    top.update_state(states.FAILED)
    other.update_state(states.FAILED)
    names = {job.name: job for job in (top, other, child, below, guilty)}

    def where() -> dict[str, str]:
        return dict(BalsamJob.objects.filter(name__in=names).values_list("name", "state"))

    assert set(where().values()) == {states.FAILED}
    first = BalsamJob.objects.filter(name="top").retry()
    assert (first.jobs, first.children) == (1, 0)
    second = BalsamJob.objects.filter(name="other").retry()
    assert (second.jobs, second.children) == (1, 2)
    assert where() == {
        **dict.fromkeys(["top", "other", "child", "below"], states.CREATED),
        "guilty": states.FAILED,
    }


def test_a_hundred_thousand_states_are_not_read_one_by_one(
    app: ApplicationDefinition, django_assert_max_num_queries: Callable[..., object]
) -> None:
    BalsamJob.objects.bulk_create([{"application": "echo"} for _ in range(500)])
    BalsamJob.objects.all().move(states.FAILED)
    with django_assert_max_num_queries(20):  # type: ignore[attr-defined]
        assert BalsamJob.objects.retry().jobs == 500
