"""Selections: each way of naming jobs finds those and no others, alone and combined."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any

import pytest
from django.db.models import F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from balsam import states
from balsam.conf.project import Project
from balsam.core import history
from balsam.core.models import ApplicationDefinition, BalsamJob
from balsam.core.selection import Selection
from balsam.errors import AmbiguousId, InvalidValue, NoSuchJob

NAMES = ("a", "ab", "abc", "B", "x[1]", "x1", "")
WORKFLOWS = ("one", "one more", "two")
TAGS: tuple[dict[str, str], ...] = ({}, {"kind": "good"}, {"kind": "bad", "a b": "1"})


def chosen(selection: Selection) -> set[str]:
    return {job.name for job in BalsamJob.objects.matching(selection)}


@pytest.fixture
def jobs(app: ApplicationDefinition) -> list[BalsamJob]:
    new = [
        BalsamJob(
            name=name,
            workflow=WORKFLOWS[number % 3],
            tags=TAGS[number % 3],
            application="echo" if number % 2 else "",
        )
        for number, name in enumerate(NAMES)
    ]
    return list(BalsamJob.objects.bulk_create(new))


def test_ids_are_numbers_or_unique_ends_of_a_uuid(jobs: list[BalsamJob]) -> None:
    for job in jobs:
        for text in (str(job.id), str(job.job_id), job.job_id.hex, job.job_id.hex[-8:]):
            assert list(BalsamJob.objects.matching(Selection(ids=(text,)))) == [job]
    with pytest.raises(AmbiguousId):
        BalsamJob.objects.matching(Selection(ids=(jobs[0].job_id.hex[:4],)))
    with pytest.raises(NoSuchJob):
        BalsamJob.objects.matching(Selection(ids=("999",)))


def test_an_id_of_a_listing_may_mean_several_or_none(jobs: list[BalsamJob]) -> None:
    prefix = jobs[0].job_id.hex[:4]
    assert BalsamJob.objects.matching(Selection(ids=(prefix,), parts=True)).count() == len(jobs)
    assert not BalsamJob.objects.matching(Selection(ids=("999",), parts=True)).exists()


def test_words_are_ids_or_names_or_last(jobs: list[BalsamJob]) -> None:
    assert chosen(Selection(words=("ab",))) == {"ab"}
    assert chosen(Selection(words=("1", "abc"))) == {"a", "abc"}
    assert chosen(Selection(words=("a*",))) == {"a", "ab", "abc"}
    assert chosen(Selection(words=("last",))) == {NAMES[-1]}
    assert chosen(Selection(words=("x[1]",))) == {"x[1]", "x1"}
    with pytest.raises(NoSuchJob, match="nothing"):
        chosen(Selection(words=("nothing",)))


@pytest.mark.parametrize("most", [1, 2, 3])
def test_jobs_that_share_a_name_are_all_meant_by_it(
    jobs: list[BalsamJob], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("balsam.core.selection.MOST_NAMESAKES", most)
    BalsamJob.objects.bulk_create([BalsamJob(name="twin") for _ in range(3)])
    assert BalsamJob.objects.matching(Selection(words=("twin", "ab"))).count() == 4


def test_the_number_of_a_job_is_never_a_name(jobs: list[BalsamJob]) -> None:
    namesake = BalsamJob(name="2", workflow="three")
    namesake.save()
    namesake.set_parents([jobs[1]])
    stray = BalsamJob(name="4711")
    stray.save()
    assert chosen(Selection(words=("2",))) == chosen(Selection(ids=("2",))) == {NAMES[1]}
    assert chosen(Selection(names=("2",))) == chosen(Selection(parents=("2",))) == {"2"}
    assert chosen(Selection(words=("2",), workflows=("three",))) == set()
    assert chosen(Selection(words=("4711",))) == {"4711"}
    assert Selection(words=("2",)).one_of(BalsamJob.objects.all()) == jobs[1]


def test_a_word_that_is_a_name_and_digits_of_a_uuid_is_refused(jobs: list[BalsamJob]) -> None:
    digits = jobs[2].job_id.hex[-7:]
    namesake = BalsamJob(name=digits)
    namesake.save()
    with pytest.raises(AmbiguousId, match=f"the number of the job, {jobs[2].id} or {namesake.id}"):
        chosen(Selection(words=(digits,)))


def test_parents_tags_states_and_times(jobs: list[BalsamJob], put: Callable[..., None]) -> None:
    jobs[1].set_parents([jobs[0]])
    jobs[2].set_parents([jobs[0], jobs[1]])
    assert chosen(Selection(parents=(str(jobs[0].id),))) == {"ab", "abc"}
    assert chosen(Selection(parents=(str(jobs[0].id), str(jobs[1].id)))) == {"ab", "abc"}
    assert chosen(Selection(tags=("kind=good",))) == {"ab", "x[1]"}
    assert chosen(Selection(tags=("a b",))) == {"abc", "x1"}
    assert chosen(Selection(states=("created",))) == {*NAMES} - {"ab", "abc"} | {
        job.name for job in BalsamJob.objects.filter(state=states.CREATED)
    }
    with pytest.raises(InvalidValue, match="did you mean 'FAILED'"):
        chosen(Selection(states=("FAILD",)))
    with pytest.raises(InvalidValue, match="KEY=VALUE"):
        chosen(Selection(tags=("=x",)))
    put(jobs[3], state_timestamp=history.now() - timedelta(days=2))
    day_ago = history.now() - timedelta(days=1)
    assert chosen(Selection(until=day_ago)) == {"B"}
    assert "B" not in chosen(Selection(since=day_ago))


def test_the_newest_of_what_is_left(jobs: list[BalsamJob]) -> None:
    assert chosen(Selection(workflows=("one",), last=2)) == {"B", ""}


def test_nothing_said_is_false() -> None:
    assert not Selection()
    assert not Selection(parts=True)
    assert Selection(last=1)


def texts(values: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    some = st.sampled_from([*(v for v in values if v), "a*", "?", "o*", "*[1x]*", "[!a]*", "none"])
    return st.lists(some, max_size=2).map(tuple)


def matches(value: str, patterns: tuple[str, ...], parts: bool) -> bool:
    """What is meant, said again in plain Python."""
    if not patterns:
        return True
    for pattern in patterns:
        if value == pattern or (any(c in pattern for c in "*?[") and fnmatchcase(value, pattern)):
            return True
        if parts and not any(c in pattern for c in "*?[") and pattern.lower() in value.lower():
            return True
    return False


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(names=texts(NAMES), workflows=texts(WORKFLOWS), apps=texts(("echo",)), parts=st.booleans())
def test_criteria_hold_together(
    jobs: list[BalsamJob],
    names: tuple[str, ...],
    workflows: tuple[str, ...],
    apps: tuple[str, ...],
    parts: bool,
) -> None:
    selection = Selection(names=names, workflows=workflows, apps=apps, parts=parts)
    expected = {
        job.name
        for job in jobs
        if matches(job.name, names, parts)
        and matches(job.workflow, workflows, parts)
        and (not apps or (job.application and matches(job.application, apps, parts)))
    }
    assert chosen(selection) == expected


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    words=st.lists(
        st.one_of(
            st.sampled_from(["last", "ab", "B", "a*"]),
            st.integers(-1, 12).map(str),
            st.text(alphabet="0123456789abcdef-x*", max_size=8),
        ),
        max_size=3,
    )
)
def test_any_words_select_or_are_refused_in_a_sentence(
    jobs: list[BalsamJob], words: list[str]
) -> None:
    try:
        found = chosen(Selection(words=tuple(words)))
    except (NoSuchJob, AmbiguousId) as error:
        assert any(repr(word)[1:-1] in str(error) for word in words)
    else:
        assert found <= set(NAMES)
        assert words or found == set(NAMES)


def test_a_busy_job_is_neither_removed_nor_retried(
    project: Project, put: Callable[..., Any]
) -> None:
    from balsam.core import sessions
    from balsam.core.sessions import Life

    free, running, leased = BalsamJob.objects.bulk_create([BalsamJob() for _ in range(3)])
    session = sessions.open_session(Life("test", "host", "machine", 1, 1))
    put(running, state=states.RUNNING, session_id=session)
    put(leased, state=states.FAILED, session_id=session)
    assert set(BalsamJob.objects.busy()) == {running, leased}
    assert BalsamJob.objects.retry().jobs == 0
    assert BalsamJob.objects.all().remove() == 1
    assert set(BalsamJob.objects.all()) == {running, leased}
    assert free.pk not in BalsamJob.objects.values_list("pk", flat=True)


def test_case_matters_in_parts_of_names_on_either_database(project: Any) -> None:
    for name in ("Wave_1", "wave_2", "50%", ""):
        BalsamJob.objects.create(name=name, direct_command="true")

    def found(**condition: Any) -> list[str]:
        jobs = BalsamJob.objects.filter(**condition).order_by("id")
        return list(jobs.values_list("name", flat=True))

    assert found(name__contains="ave_") == ["Wave_1", "wave_2"]
    assert found(name__contains="wa") == ["wave_2"]
    assert found(name__startswith="W") == ["Wave_1"]
    assert found(name__startswith="") == found(name__endswith="") == found(name__contains="")
    assert found(name__endswith="E_2") == [] and found(name__endswith="e_2") == ["wave_2"]
    assert found(name__endswith="xxwave_2") == []
    assert found(name__contains="%") == ["50%"] and found(name__contains=50) == ["50%"]
    assert found(name__startswith=F("workflow"), name__gt="") == ["Wave_1", "wave_2", "50%"]
    assert found(name__icontains="WAVE") == ["Wave_1", "wave_2"]
