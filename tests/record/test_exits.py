"""The exit code that stands for a job, and what is said of one that has printed nothing."""

from __future__ import annotations

import pytest

from balsam import states
from balsam.conf.project import Project
from balsam.core import exits
from balsam.core.advance import Move, advance
from balsam.core.events import Hop
from balsam.core.models import BalsamJob


def ran(project: Project, cause: str, code: int | None, message: str = "words\ntail") -> BalsamJob:
    """A job whose only attempt came to ``cause``."""
    job = BalsamJob.objects.create(name="j")
    data = {"cause": cause, "returncode": code, "attempt": 1}
    way = (states.READY, states.STAGED_IN, states.PREPROCESSED, states.RUNNING, states.RUN_ERROR)
    hops = [*(Hop(state) for state in way[:-1]), Hop(way[-1], message, data), Hop(states.FAILED)]
    assert advance([Move(job.pk, states.CREATED, hops, next_attempt=1)]) == {job.pk}
    job.refresh_from_db()
    return job


@pytest.mark.parametrize(
    ("cause", "code", "expected"),
    [
        (states.EXIT, 3, exits.Verdict(3)),
        (states.SIGNAL, 139, exits.Verdict(139, "Job 1 {label}: words.")),
        (states.JOB_TIME_LIMIT, 143, exits.Verdict(143, "Job 1 {label}: words.")),
        (states.PROGRAM_MISSING, 255, exits.Verdict(1, "Job 1 {label} failed: words.")),
        (states.HOOK, 4, exits.Verdict(1, "Job 1 {label} failed: words.")),
        (states.UNSATISFIABLE, None, exits.Verdict(1, "Job 1 {label} failed: words.")),
    ],
)
def test_a_job_that_failed(
    project: Project, cause: str, code: int | None, expected: exits.Verdict
) -> None:
    job = ran(project, cause, code)
    sentence = expected.sentence.format(label=job.cute_id)
    assert exits.verdict(job) == exits.Verdict(expected.code, sentence)


def test_jobs_that_finished_or_were_killed(project: Project) -> None:
    job = BalsamJob.objects.create(name="j")
    BalsamJob.objects.filter(pk=job.pk).kill("x")
    job.refresh_from_db()
    assert exits.verdict(job) == exits.Verdict(1, f"Job 1 {job.cute_id} was killed.")
    job = BalsamJob.objects.create(name="k")
    job.update_state(states.JOB_FINISHED)
    assert exits.verdict(job) == exits.Verdict(0)


def test_why_a_job_has_no_output(project: Project) -> None:
    job = BalsamJob.objects.create(name="j")
    words = f"has no output yet: it is {states.CREATED} (no launcher has run it yet)"
    assert exits.without_output(job) == words
    failed = ran(project, states.PROGRAM_MISSING, None)
    failed.update_state(states.READY, "again\nand again")
    assert exits.without_output(failed) == f"has no output yet: it is {states.READY} (again)"


@pytest.mark.parametrize("cause", [states.OK, states.EXIT])
def test_the_output_of_a_job_that_ran_is_not_said_to_come_yet(project: Project, cause: str) -> None:
    assert "is not there" in exits.without_output(ran(project, cause, 0))
