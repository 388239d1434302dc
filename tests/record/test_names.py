"""The names of every Balsam line, wherever a name is accepted."""

from __future__ import annotations

import pickle
import uuid
from typing import Any

import pytest
from django.core.exceptions import FieldError
from django.db.models import Count, F, Max, Q

from balsam import states
from balsam.core.models import (
    ApplicationDefinition,
    BalsamJob,
    BatchJob,
    Dependency,
    EventLog,
)
from balsam.errors import IllegalMove, NoApplication, NoSuchJob, UnknownName
from balsam.launcher import dag

#: Another name, the field behind it, and two values in their order.
PLAIN = [
    ("application_args", "args", "a", "b"),
    ("preprocessor", "preprocess_override", "a", "b"),
    ("preprocess", "preprocess_override", "a", "b"),
    ("postprocessor", "postprocess_override", "a", "b"),
    ("postprocess", "postprocess_override", "a", "b"),
    ("processes_per_node", "ranks_per_node", 2, 3),
    ("procs_per_node", "ranks_per_node", 2, 3),
    ("wall_minutes", "wall_time_minutes", 2, 3),
    ("wall_time_min", "wall_time_minutes", 2, 3),
    ("post_handle_error", "post_error_handler", False, True),
    ("post_handle_timeout", "post_timeout_handler", False, True),
    ("url_in", "stage_in_url", "/a", "/b"),
    ("url_out", "stage_out_url", "/a", "/b"),
]
#: Those that are relations, or read-only.
OTHERS = {"application", "lock", "tick", "batch_job", "batch_job_id", "parent_ids"}


def test_every_alias_is_tested_here() -> None:
    assert {alias for alias, *_ in PLAIN} | OTHERS == set(BalsamJob.ALIASES)


@pytest.mark.parametrize(("alias", "field", "low", "high"), PLAIN)
def test_an_alias_is_as_good_as_the_name(
    project: Any, alias: str, field: str, low: Any, high: Any
) -> None:
    first = BalsamJob(name="first", **{alias: low})
    first.save()
    second = BalsamJob.objects.create(name="second", **{alias: high})
    BalsamJob.objects.bulk_create([{"name": "third", alias: high}])
    third = BalsamJob.objects.get(name="third")
    jobs = BalsamJob.objects.order_by("id")
    assert getattr(second, field) == getattr(second, alias) == getattr(third, field) == high

    assert list(jobs.filter(**{alias: low})) == [first]
    assert list(jobs.filter(**{f"{alias}__in": [low]})) == [first]
    assert list(jobs.exclude(**{alias: low})) == [second, third]
    assert list(jobs.filter(Q(**{alias: low}) | Q(name="third"))) == [first, third]
    assert list(jobs.filter(~Q(**{alias: low}))) == [second, third]
    assert list(jobs.filter(**{field: F(alias)})) == [first, second, third]
    assert jobs.order_by(f"-{alias}", "id")[0] == second
    assert jobs.order_by(alias)[0] == first
    assert list(jobs.values_list(alias, flat=True)) == [low, high, high]
    assert list(jobs.values(alias)) == [{alias: low}, {alias: high}, {alias: high}]
    assert jobs.aggregate(Count(alias)) == {f"{alias}__count": 3}
    assert BalsamJob.objects.get(**{alias: low}) == first

    assert jobs.filter(name="first").update(**{alias: high}) == 1
    assert jobs.filter(**{alias: high}).count() == 3
    first.refresh_from_db()
    assert getattr(first, alias) == high
    setattr(first, alias, low)
    first.save()
    assert list(jobs.filter(**{field: low})) == [first]


def test_the_application_is_known_by_its_name(app: ApplicationDefinition) -> None:
    other = ApplicationDefinition.register(name="sleep", executable="sleep")
    job = BalsamJob.objects.create(name="a", application="echo")
    BalsamJob.objects.bulk_create(
        [{"name": "b", "application": "sleep"}, {"name": "c", "application": other}, {"name": "d"}]
    )
    jobs = BalsamJob.objects.order_by("name")
    assert job.application == "echo" and job.app == app
    assert [row.application for row in jobs] == ["echo", "sleep", "sleep", ""]
    assert list(jobs.filter(application="echo")) == [job]
    assert jobs.filter(application__contains="lee").count() == 2
    assert jobs.filter(application__in=["echo", "sleep"]).count() == 3
    assert [row.name for row in jobs.exclude(application="sleep")] == ["a", "d"]
    assert list(jobs.values_list("application", flat=True)) == ["echo", "sleep", "sleep", None]
    assert jobs.values("application")[0] == {"application": "echo"}
    assert (
        BalsamJob.objects.order_by("-application", "name").filter(application__isnull=False)[0].name
        == "b"
    )
    assert jobs.filter(name__in="ad").update(application="sleep") == 2
    assert jobs.filter(application="sleep").count() == 4
    job.refresh_from_db()
    assert job.application == "sleep"
    job.application = "echo"
    job.save()
    assert list(jobs.filter(app__name="echo")) == [job]
    counts = jobs.order_by().values("application").annotate(number=Count("*"))
    assert {row["application"]: row["number"] for row in counts} == {"echo": 1, "sleep": 3}


def test_an_application_that_is_not_registered_is_refused_with_the_nearest(
    app: ApplicationDefinition,
) -> None:
    job = BalsamJob.objects.create()
    with pytest.raises(NoApplication, match="'echo'"):
        BalsamJob(application="ehco").save()
    with pytest.raises(NoApplication, match="'echo'"):
        BalsamJob.objects.bulk_create([{"application": "ehco"}])
    with pytest.raises(NoApplication, match="'echo'"):
        BalsamJob.objects.update(application="ehco")
    job.application = "ehco"
    with pytest.raises(NoApplication, match="'echo'"):
        job.save()
    assert BalsamJob.objects.count() == 1


def test_batch_jobs_and_parents_are_asked_by_either_name(project: Any) -> None:
    batch = BatchJob.objects.create(nodes=4, wall_minutes=30)
    assert (batch.num_nodes, batch.wall_time_min) == (4, 30)
    assert BatchJob.objects.filter(nodes=4, wall_minutes__gt=20).get() == batch
    parent = BalsamJob.objects.create(name="p", queued_launch=batch)
    child = BalsamJob.objects.create(name="c", batch_job=batch, parents=[parent])
    by_ids = BalsamJob.objects.create(name="i", parent_ids=[parent.pk])
    assert BalsamJob.objects.filter(batch_job=batch).count() == 2
    assert BalsamJob.objects.filter(batch_job_id=batch.pk).count() == 2
    assert BalsamJob.objects.filter(queued_launch__isnull=True).get() == by_ids
    assert set(BalsamJob.objects.filter(parents=parent)) == {child, by_ids}
    assert set(BalsamJob.objects.filter(parent_ids__in=[parent.pk])) == {child, by_ids}
    assert set(BalsamJob.objects.filter(parents__name="p")) == {child, by_ids}
    assert child.batch_job == batch and child.batch_job_id == batch.pk
    assert BalsamJob.objects.filter(name="i").update(batch_job=batch) == 1


def test_locks_are_asked_as_text(project: Any) -> None:
    free, held = BalsamJob.objects.create(name="f"), BalsamJob.objects.create(name="h")
    assert BalsamJob.source.acquire([held.pk]) == [held.pk]
    lock = BalsamJob.source.lock_str
    held.refresh_from_db()
    assert (free.lock, held.lock) == ("", lock)
    assert held.tick is not None and free.tick is None
    assert list(BalsamJob.objects.filter(lock=lock)) == [held]
    assert list(BalsamJob.objects.filter(lock__isnull=True)) == [free]
    assert list(BalsamJob.objects.filter(tick__isnull=False)) == [held]
    for name in ("lock", "tick"):
        with pytest.raises((IllegalMove, UnknownName)):
            BalsamJob.objects.update(**{name: None})
    BalsamJob.source.release_all_owned()


def test_events_are_asked_in_either_name(project: Any) -> None:
    job = BalsamJob.objects.create()
    assert EventLog.objects.filter(time__isnull=False, job=job).get().to_state == states.CREATED
    assert EventLog.objects.aggregate(last=Max("time"))["last"] == EventLog.objects.get().time


WRONG = [("wal_time_minutes", "wall_time_minutes"), ("nam", "name"), ("numnodes", "num_nodes"),
         ("aplication", "application")]  # fmt: skip


@pytest.mark.parametrize(("wrong", "right"), WRONG)
def test_an_unknown_keyword_suggests_the_nearest(project: Any, wrong: str, right: str) -> None:
    with pytest.raises(UnknownName, match=f"'{right}'") as error:
        BalsamJob(**{wrong: 1})
    assert isinstance(error.value, TypeError) and isinstance(error.value, ValueError)
    with pytest.raises(UnknownName, match=f"'{right}'"):
        BalsamJob.objects.create(**{wrong: 1})
    with pytest.raises(UnknownName, match=f"'{right}'"):
        BalsamJob.objects.bulk_create([{wrong: 1}])
    with pytest.raises(UnknownName, match=f"'{right}'"):
        BalsamJob.objects.update(**{wrong: 1})
    for ask in (BalsamJob.objects.filter, BalsamJob.objects.exclude, BalsamJob.objects.get):
        with pytest.raises(FieldError, match=f"'{right}'"):
            ask(**{wrong: 1})
    with pytest.raises(FieldError, match=f"'{right}'"):
        BalsamJob.objects.order_by(wrong)
    with pytest.raises(FieldError, match=f"'{right}'"):
        list(BalsamJob.objects.values(wrong))
    with pytest.raises(FieldError, match=f"'{right}'"):
        BalsamJob.objects.filter(Q(name="x") | Q(**{wrong: 1}))


def test_one_field_under_two_names_is_refused(project: Any) -> None:
    with pytest.raises(UnknownName, match="twice"):
        BalsamJob(args="a", application_args="b")
    with pytest.raises(UnknownName, match="twice"):
        BalsamJob.objects.bulk_create([{"args": "a", "application_args": "b"}])
    with pytest.raises(UnknownName, match="twice"):
        BalsamJob.objects.update(args="a", application_args="b")
    with pytest.raises(UnknownName, match="its names: app, application$"):
        BalsamJob.objects.bulk_create([{"name": "a", "app": None, "application": ""}])


def test_rows_are_found_by_either_key(project: Any) -> None:
    jobs = [BalsamJob.objects.create(name=str(number)) for number in range(3)]
    job = jobs[1]
    for key in (job.id, str(job.id), job.job_id, str(job.job_id), job.job_id.hex):
        assert BalsamJob.objects.get(pk=key) == job
        assert BalsamJob.objects.filter(pk__in=[key]).get() == job
        assert BalsamJob.objects.exclude(pk=key).count() == 2
        assert BalsamJob.objects.filter(Q(pk=key) & Q(name="1")).exists()
    assert BalsamJob.objects.get(id=job.id) == BalsamJob.objects.get(job_id=str(job.job_id))
    uuids = [one.job_id for one in jobs[:2]]
    for keys in (uuids, set(uuids), tuple(map(str, uuids)), [one.pk for one in jobs[:2]]):
        assert set(BalsamJob.objects.filter(pk__in=keys)) == set(jobs[:2])
    assert BalsamJob.objects.filter(pk__in=[]).count() == 0
    for stranger in (uuid.uuid4(), 10**6):
        with pytest.raises(BalsamJob.DoesNotExist):
            BalsamJob.objects.get(pk=stranger)
    with pytest.raises(BalsamJob.DoesNotExist):
        BalsamJob.objects.get(job_id=uuid.uuid4())


def test_json_and_text_lookups_work(project: Any) -> None:
    BalsamJob.objects.create(name="Alpha1", data={"energy": -1.5, "tag": {"kind": "x"}})
    BalsamJob.objects.create(name="beta", data={"energy": 2.0}, tags={"a": "1"})
    jobs = BalsamJob.objects.all()
    assert jobs.get(data__energy__lt=0).name == "Alpha1"
    assert jobs.get(data__tag__kind="x").name == "Alpha1"
    assert jobs.get(tags__a="1").name == "beta"
    assert jobs.filter(data__has_key="energy").count() == 2
    assert jobs.get(name__startswith="Alp").name == "Alpha1"
    assert jobs.get(name__icontains="ALPHA").name == "Alpha1"
    assert jobs.get(name__regex=r"\d$").name == "Alpha1"
    assert jobs.order_by("-data__energy")[0].name == "beta"
    assert [row[0] for row in jobs.order_by("name").values_list("data__energy")] == [-1.5, 2.0]
    assert jobs.filter(name="beta").only("name").get().args == ""
    assert jobs.in_bulk()[jobs.get(name="beta").pk].name == "beta"
    assert (jobs.filter(name="beta") | jobs.filter(name="Alpha1")).count() == 2


def test_only_and_defer_take_any_name(project: Any) -> None:
    BalsamJob.objects.create(name="a", wall_minutes=7)
    assert BalsamJob.objects.only("wall_minutes").get().name == "a"
    assert BalsamJob.objects.defer("wall_minutes", "application_args").get().wall_minutes == 7


# -- keys and names at every step ------------------------------------------------------------------


def test_no_application_and_no_lock_are_asked_for_as_empty_text(
    app: ApplicationDefinition,
) -> None:
    with_app = BalsamJob.objects.create(application="echo")
    free = BalsamJob.objects.create(parents=[with_app])
    BalsamJob.source.acquire([with_app.pk])
    jobs, events = BalsamJob.objects, EventLog.objects
    for name in ("application", "lock"):
        for ending in ("", "__exact"):
            assert list(jobs.filter(**{f"{name}{ending}": ""})) == [free]
            assert list(jobs.exclude(**{f"{name}{ending}": ""})) == [with_app]
        assert {event.job for event in events.filter(**{f"job__{name}": ""})} == {free}
        assert {event.job for event in events.exclude(**{f"job__{name}": ""})} == {with_app}
        assert list(jobs.filter(**{f"children__{name}": ""})) == [with_app]
        assert list(jobs.filter(**{f"parents__{name}": ""})) == []
    either = Q(application="") | Q(application="echo")
    assert list(jobs.filter(either).order_by("id")) == [with_app, free]
    assert list(jobs.filter(description="").order_by("id")) == [with_app, free]
    assert list(jobs.values_list("application", flat=True).order_by("id")) == ["echo", None]
    BalsamJob.source.release_all_owned()


def test_uuids_are_keys_at_every_step(project: Any) -> None:
    parent = BalsamJob.objects.create(name="parent")
    child = BalsamJob.objects.create(name="child", parents=[parent])
    other = BalsamJob.objects.create(name="other")
    jobs, events, edges = BalsamJob.objects, EventLog.objects, Dependency.objects
    for key in (parent.job_id, str(parent.job_id), parent.job_id.hex, parent.pk, parent):
        assert list(jobs.filter(parents=key)) == [child]
        assert list(jobs.exclude(parents=key)) == [parent, other]
        assert events.filter(job=key).get().job == parent
        assert edges.filter(parent=key).get().child == child
        assert list(jobs.filter(parents__in=[key])) == [child]
        assert events.filter(job__in=[key]).get().job == parent
        assert {event.job for event in events.exclude(job=key)} == {child, other}
    for key in (parent.job_id, str(parent.job_id), parent.pk):
        assert events.filter(job_id=key).get().job == parent
        assert events.filter(job__pk=key).get().job == parent
        assert list(jobs.filter(parents__pk=key)) == [child]
        assert list(jobs.filter(parents__pk__in=[key])) == [child]
        assert events.filter(job__parents=key).get().job == child
    assert list(jobs.filter(children=child.job_id)) == [parent]
    assert events.filter(job__in=[parent.job_id, other.job_id]).count() == 2
    assert not events.filter(job=uuid.uuid4()).exists()


def test_names_of_every_line_are_known_at_every_step(app: ApplicationDefinition) -> None:
    parent = BalsamJob.objects.create(application="echo", wall_minutes=7)
    child = BalsamJob.objects.create(parents=[parent])
    events = EventLog.objects
    assert events.filter(job__application="echo").get().job == parent
    assert events.filter(job__application__startswith="ec").get().job == parent
    assert events.filter(job__wall_minutes=7).get().job == parent
    assert list(BalsamJob.objects.filter(parents__application="echo")) == [child]
    names = events.order_by("-job__wall_minutes").values_list("job__application", flat=True)
    assert list(names) == ["echo", None]
    assert list(events.values("job__wall_minutes").distinct()) == [
        {"job__wall_minutes": 7}, {"job__wall_minutes": 1},
    ]  # fmt: skip
    with pytest.raises(FieldError, match="wall_minutes"):
        events.filter(job__wall_minuts=7)


@pytest.mark.parametrize("name", ["state_history", "state_history__contains"])
def test_histories_are_asked_for_by_their_events(project: Any, name: str) -> None:
    with pytest.raises(FieldError, match="events__message"):
        BalsamJob.objects.filter(**{name: "x"})
    with pytest.raises(FieldError, match="events__message"):
        EventLog.objects.filter(**{f"job__{name}": "x"})
    with pytest.raises(FieldError, match="events__message"):
        BalsamJob.objects.values_list("state_history")


def test_text_with_a_leading_zero_is_never_an_integer_id(project: Any) -> None:
    first = BalsamJob.objects.create(job_id=uuid.UUID("01" * 16))
    second = BalsamJob.objects.create(job_id=uuid.UUID("1234567" + "a" * 25))
    assert first.pk == 1
    assert BalsamJob.objects.find("01") == first
    first.delete()
    with pytest.raises(NoSuchJob):
        BalsamJob.objects.find("01")
    with pytest.raises(NoSuchJob):
        dag.kill("02")
    assert BalsamJob.objects.find("2") == second
    assert BalsamJob.objects.find("1234567") == second


def test_lists_of_keys_are_as_long_as_they_like(project: Any) -> None:
    jobs = BalsamJob.objects.bulk_create([{} for _ in range(3)])
    many = list(range(300_000))
    assert BalsamJob.objects.filter(pk__in=many).count() == len(jobs)
    assert BalsamJob.objects.exclude(pk__in=many).count() == 0
    assert BalsamJob.objects.filter(id__in=set(many)).count() == len(jobs)
    assert EventLog.objects.filter(job__in=many).count() == len(jobs)
    assert BalsamJob.objects.filter(pk__in=many).delete()[0] == len(jobs)


def test_a_long_list_of_keys_is_a_list_like_any_other(project: Any) -> None:
    first, second, third = BalsamJob.objects.bulk_create([BalsamJob() for _ in range(3)])
    dag.add_dependency(first, third)
    many = set(range(10_000, 12_000))
    asked = BalsamJob.objects.filter(pk__in=many | {first.pk, second.pk})
    mine = many | {first.pk}
    copied = BalsamJob.objects.filter(pk__in=mine)
    mine.clear()
    assert copied.get() == first
    assert asked.filter(pk__in=[*many, second.pk]).get() == second
    assert (asked & BalsamJob.objects.exclude(pk__in=[*many, second.pk])).get() == first
    assert (copied | BalsamJob.objects.filter(pk__in=[*many, third.pk])).count() == 2
    assert BalsamJob.objects.filter(parents__in=[*many, first.pk]).get() == third
    assert BalsamJob.objects.exclude(parents__in=[*many, first.pk]).count() == 2
    assert BalsamJob.objects.exclude(session__in=many).count() == 3
    assert pickle.loads(pickle.dumps(copied.query)).where
    assert asked.update(description="x") == 2
    assert BalsamJob.objects.filter(pk__in=[*many, 1 << 63]).count() == 0
