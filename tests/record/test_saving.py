"""What ``save()`` and its relatives write, and what they never do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, models, transaction
from django.test.utils import CaptureQueriesContext

from balsam import states
from balsam.core import ids, insert
from balsam.core.models import ApplicationDefinition, BalsamJob, EventLog
from balsam.errors import (
    DependencyError,
    IllegalMove,
    InvalidValue,
    NoSuchJob,
    UnknownName,
    UsageError,
)
from balsam.launcher import dag


def queries() -> CaptureQueriesContext:
    return CaptureQueriesContext(connection)


def test_a_new_job_has_an_id_a_uuid_and_its_first_event(project: Any) -> None:
    job = BalsamJob(name="a", workflow="w")
    assert job.pk is None and job.state == states.CREATED
    job.save()
    assert isinstance(job.id, int)
    read = BalsamJob.objects.get(pk=job.job_id)
    assert read.id == job.id and read.job_id == job.job_id
    event = EventLog.objects.get(job=job)
    assert (event.from_state, event.to_state) == ("", states.CREATED)
    assert read.state_history.endswith("CREATED]")


def test_an_unchanged_job_is_saved_without_a_query(project: Any) -> None:
    job = BalsamJob.objects.create(name="a", data={"x": [1]}, environ_vars="A=1")
    with queries() as made:
        job.save()
        BalsamJob.objects.all()
    assert len(made) == 0
    read = BalsamJob.objects.get()
    with queries() as made:
        read.save()
        read.description = "new"
        read.description = ""
        read.save()
    assert len(made) == 0


def test_only_what_changed_is_written(project: Any) -> None:
    BalsamJob.objects.create(name="a", args="1", description="old")
    first, second = BalsamJob.objects.get(), BalsamJob.objects.get()
    first.args = "2"
    first.save()
    second.description = "new"
    with queries() as made:
        second.save()
    updates = [query["sql"] for query in made if query["sql"].startswith("UPDATE")]
    assert len(updates) == 1
    assert "description" in updates[0] and "args" not in updates[0]
    read = BalsamJob.objects.get()
    assert (read.args, read.description) == ("2", "new")


def test_a_stale_copy_never_writes_state_lease_or_attempt(
    project: Any, put: Callable[..., None]
) -> None:
    BalsamJob.objects.create(name="a")
    fresh, stale = BalsamJob.objects.get(), BalsamJob.objects.get()
    fresh.update_state(states.PREPROCESSED)
    BalsamJob.source.acquire([fresh.pk])
    put(fresh, attempt=3, lost_attempts=1)
    stale.data["result"] = 42
    stale.save()
    read = BalsamJob.objects.get()
    assert read.data == {"result": 42}
    assert read.state == states.PREPROCESSED and read.lock
    assert (read.attempt, read.lost_attempts) == (3, 1)
    assert stale.state == states.CREATED
    BalsamJob.source.release_all_owned()


def test_a_mutation_in_place_is_saved(project: Any) -> None:
    BalsamJob.objects.create(data={"list": [1]}, tags={"a": "1"})
    job = BalsamJob.objects.get()
    job.data["list"].append({"deep": 1})
    job.tags["b"] = "2"
    job.environ_vars["A"] = "1"
    job.save()
    job.data["list"][1]["deep"] = 2
    job.save()
    read = BalsamJob.objects.get()
    assert read.data == {"list": [1, {"deep": 2}]}
    assert read.tags == {"a": "1", "b": "2"}
    assert read.environ_vars == {"A": "1"}


def test_a_job_that_was_just_made_can_be_changed_and_saved(project: Any) -> None:
    job = BalsamJob(name="a", data={})
    job.save()
    job.data["x"] = 1
    job.args = "now"
    job.save()
    read = BalsamJob.objects.get()
    assert read.data == {"x": 1} and read.args == "now"


@pytest.mark.parametrize(
    ("name", "value"),
    [("state", states.READY), ("attempt", 2), ("session_id", 1), ("lost_attempts", 1)],
)
def test_assigning_what_save_never_writes_is_an_error(project: Any, name: str, value: Any) -> None:
    job = BalsamJob.objects.create()
    setattr(job, name, value)
    with pytest.raises(IllegalMove):
        job.save()
    with pytest.raises(IllegalMove):
        job.save(update_fields=[name])
    with pytest.raises(IllegalMove):
        BalsamJob(**{name: value}).save()
    assert BalsamJob.objects.count() == 1
    assert getattr(BalsamJob.objects.get(), name) != value


def test_update_fields_narrow_what_is_written(project: Any) -> None:
    job = BalsamJob.objects.create(wall_minutes=1)
    job.args, job.wall_minutes, job.name = "x", 5, "n"
    job.save(update_fields=["args", "wall_minutes"])
    read = BalsamJob.objects.get()
    assert (read.args, read.wall_time_minutes, read.name) == ("x", 5, "")
    job.save()
    assert BalsamJob.objects.get().name == "n"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_nodes", 0),
        ("num_nodes", "2"),
        ("ranks_per_node", 0),
        ("wall_time_minutes", -1),
        ("name", None),
        ("name", "a\0b"),
        ("data", "text"),
        ("data", {"set": {1}}),
        ("on_parent_failure", "explode"),
        ("environ_vars", "A"),
        ("wait_for_parents", "False"),
        ("gpus_per_rank", float("nan")),
    ],
)
def test_wrong_values_are_refused_when_made_and_when_changed(
    project: Any, name: str, value: Any
) -> None:
    job = BalsamJob.objects.create()
    with pytest.raises(InvalidValue):
        BalsamJob(**{name: value}).save()
    with pytest.raises(InvalidValue):
        BalsamJob.objects.bulk_create([{"name": "fine"}, {name: value}])
    setattr(job, name, value)
    with pytest.raises(InvalidValue):
        job.save()
    with pytest.raises(InvalidValue):
        BalsamJob.objects.update(**{name: value})
    assert BalsamJob.objects.count() == EventLog.objects.count() == 1


def test_refreshing_drops_changes(project: Any) -> None:
    job = BalsamJob.objects.create(name="a")
    job.name = "b"
    job.refresh_from_db()
    assert job.name == "a" and job.changed_fields() == []


def test_refreshing_some_fields_keeps_changes_of_others(project: Any) -> None:
    job = BalsamJob.objects.create(name="a")
    job.data["x"] = 1
    job.args = "new"
    job.refresh_from_db(fields=["state"])
    assert job.args == "new" and job.data == {"x": 1}
    job.save()
    read = BalsamJob.objects.get()
    assert read.args == "new" and read.data == {"x": 1}


def test_a_move_between_change_and_save_loses_neither(project: Any) -> None:
    job = BalsamJob.objects.create()
    job.data["x"] = 1
    job.update_state(states.READY)
    job.save()
    read = BalsamJob.objects.get()
    assert read.data == {"x": 1} and read.state == states.READY


def test_deferred_fields_are_left_alone(project: Any) -> None:
    BalsamJob.objects.create(name="a", args="1", data={"x": 1})
    job = BalsamJob.objects.only("name").get()
    job.name = "b"
    job.save()
    job = BalsamJob.objects.defer("data").get()
    job.data = {"y": 2}
    job.save()
    read = BalsamJob.objects.get()
    assert (read.name, read.args, read.data) == ("b", "1", {"y": 2})


def test_get_or_create_and_update_or_create(project: Any) -> None:
    job, made = BalsamJob.objects.get_or_create(name="a", defaults={"wall_minutes": 3})
    assert made and job.wall_time_minutes == 3 and job.events.count() == 1
    same, made = BalsamJob.objects.get_or_create(name="a", defaults={"wall_minutes": 4})
    assert not made and same == job and same.wall_time_minutes == 3
    same, made = BalsamJob.objects.update_or_create(name="a", defaults={"wall_minutes": 5})
    assert not made and BalsamJob.objects.get().wall_time_minutes == 5
    same, made = BalsamJob.objects.update_or_create(name="a", defaults={"args": "x"})
    assert not made and BalsamJob.objects.get().args == "x"
    other, made = BalsamJob.objects.update_or_create(name="b", defaults={"args": "y"})
    assert made and other.args == "y"
    with pytest.raises(IllegalMove):
        BalsamJob.objects.update_or_create(name="a", defaults={"state": states.READY})


def test_update_writes_other_fields_and_moves_state(project: Any) -> None:
    jobs = [BalsamJob.objects.create(name=str(number)) for number in range(4)]
    chosen = BalsamJob.objects.filter(name__in="012")
    assert chosen.update(state=states.READY, args="new") == 3
    assert BalsamJob.objects.filter(state=states.READY, args="new").count() == 3
    assert EventLog.objects.filter(from_state=states.CREATED, to_state=states.READY).count() == 3
    with pytest.raises(IllegalMove):
        BalsamJob.objects.update(state=states.RUNNING, args="never")
    assert not BalsamJob.objects.filter(args="never").exists()
    for name in ("attempt", "session", "job_id", "id", "state_timestamp", "lost_attempts"):
        with pytest.raises(IllegalMove):
            BalsamJob.objects.update(**{name: None})
    jobs[0].refresh_from_db()
    assert jobs[0].args == "new"


def test_a_filter_on_what_update_changes_still_moves_the_same_jobs(project: Any) -> None:
    BalsamJob.objects.create(name="a")
    assert BalsamJob.objects.filter(name="a").update(name="b", state=states.READY) == 1
    assert BalsamJob.objects.get().state == states.READY


def test_bulk_update_writes_plain_fields_only(project: Any) -> None:
    jobs = [BalsamJob.objects.create(name=str(number)) for number in range(3)]
    for job in jobs:
        job.args, job.data = job.name * 2, {"n": job.name}
    assert BalsamJob.objects.bulk_update(jobs, ["args", "data"]) == 3
    assert list(BalsamJob.objects.order_by("id").values_list("args", flat=True)) == [
        "00", "11", "22",
    ]  # fmt: skip
    for name in ("state", "attempt", "session"):
        with pytest.raises(IllegalMove):
            BalsamJob.objects.bulk_update(jobs, ["args", name])


def test_deleting_removes_events_and_edges(project: Any) -> None:
    job = BalsamJob.objects.create(name="a")
    BalsamJob.objects.create(name="b", parents=[job])
    BalsamJob.objects.create(name="c")
    assert BalsamJob.objects.filter(name__in="ab").delete() == (2, {"core.BalsamJob": 2})
    assert BalsamJob.objects.get().name == "c"
    assert EventLog.objects.count() == 1
    assert BalsamJob.objects.get().delete()[0] == 1
    assert BalsamJob.objects.count() == EventLog.objects.count() == 0
    assert BalsamJob.objects.all().delete()[0] == 0


def test_ids_are_not_given_twice(project: Any) -> None:
    first = BalsamJob.objects.create()
    key = first.pk
    first.delete()
    assert BalsamJob.objects.create().pk > key


# -- bulk_create ----------------------------------------------------------------------------------


def test_bulk_create_takes_dicts_and_objects(project: Any) -> None:
    parent = BalsamJob.objects.create(name="p")
    objects = [BalsamJob(name="o", data={"x": 1}), BalsamJob(name="q", parents=[parent])]
    given = [{"name": "d", "environ_vars": "A=1:B=2", "parents": [parent.job_id]}, *objects]
    assert BalsamJob.objects.bulk_create(given) == given
    read = {job.name: job for job in BalsamJob.objects.all()}
    assert set(read) == {"p", "d", "o", "q"}
    assert read["d"].environ_vars == {"A": "1", "B": "2"}
    assert objects[0] == read["o"] and objects[0].job_id == read["o"].job_id
    assert list(read["d"].get_parents()) == list(read["q"].get_parents()) == [parent]
    assert EventLog.objects.filter(to_state=states.CREATED).count() == 4
    with queries() as made:
        objects[0].save()
    assert len(made) == 0
    objects[1].args = "later"
    objects[1].save()
    assert BalsamJob.objects.get(name="q").args == "later"


def test_bulk_create_makes_all_or_none(project: Any) -> None:
    good = [BalsamJob(name="good") for _ in range(3)]
    for wrong, error in (
        ({"nam": 1}, UnknownName),
        ({"num_nodes": 0}, InvalidValue),
        ({"state": states.READY}, IllegalMove),
        ({"parents": [10**6]}, NoSuchJob),
        (BalsamJob(num_nodes=-1), InvalidValue),
    ):
        with pytest.raises(error):
            BalsamJob.objects.bulk_create([*good, wrong])
        assert BalsamJob.objects.count() == EventLog.objects.count() == 0
    BalsamJob.objects.bulk_create(good)
    assert BalsamJob.objects.count() == 3


def test_bulk_create_inserts_only(project: Any) -> None:
    with pytest.raises(UsageError):
        BalsamJob.objects.bulk_create([{}], ignore_conflicts=True)
    assert BalsamJob.objects.bulk_create([]) == []
    job = BalsamJob.objects.create()
    with pytest.raises((UsageError, InvalidValue, IllegalMove)):
        BalsamJob.objects.bulk_create([job])
    assert BalsamJob.objects.count() == 1


def test_jobs_of_one_call_may_depend_on_each_other(project: Any) -> None:
    first = BalsamJob(name="a")
    second = BalsamJob(name="b", parents=[first])
    BalsamJob.objects.bulk_create([second, first])
    assert list(second.get_parents()) == [first]


def test_bulk_create_costs_statements_by_the_batch_not_by_the_job(project: Any) -> None:
    with queries() as made:
        BalsamJob.objects.bulk_create([{"name": str(number)} for number in range(2000)])
    assert len(made) < 12


def test_what_is_rolled_back_leaves_nothing(project: Any) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        BalsamJob.objects.bulk_create([{"name": "a"}])
        raise ZeroDivisionError
    assert BalsamJob.objects.count() == EventLog.objects.count() == 0


# -- names and directories ------------------------------------------------------------------------


def test_renaming_pins_the_directory_of_a_job_that_may_have_one(project: Any) -> None:
    waiting = BalsamJob.objects.create(name="w", workflow="flow")
    started = BalsamJob.objects.create(name="s", workflow="flow")
    others = BalsamJob.objects.create(name="o", workflow="flow")
    for job in (started, others):
        job.update_state(states.READY)
    was = {job.pk: job.working_directory for job in (waiting, started, others)}
    waiting.name = started.name = "renamed"
    waiting.save()
    started.save()
    BalsamJob.objects.filter(pk=others.pk).update(name="renamed", workflow="other")
    for job in (waiting, started, others):
        job.refresh_from_db()
        assert job.name == "renamed"
    assert waiting.working_directory != was[waiting.pk]
    assert started.working_directory == was[started.pk]
    assert others.working_directory == was[others.pk]
    assert Path(was[started.pk]).parent == Path(project.data, "flow")


def test_renaming_by_an_object_read_before_the_job_began_moves_nothing(
    project: Any, put: Any
) -> None:
    job = BalsamJob.objects.create(name="s", workflow="flow")
    old, older = (BalsamJob.objects.get(pk=job.pk) for _ in range(2))
    put(job, state=states.RUNNING)
    was = job.working_directory
    old.name = "renamed"
    old.save()
    assert old.working_directory == was
    older.workflow = "other"
    older.save()
    job.refresh_from_db()
    assert (job.name, job.workflow) == ("renamed", "other")
    assert job.working_directory == older.working_directory == was


def test_the_files_of_parents_are_found_without_reading_all_of_them(
    project: Any, put: Any, tmp_path: Path
) -> None:
    renamed = BalsamJob.objects.create(name="r", workflow="flow")
    put(renamed, workdir="flow/before")
    elsewhere = BalsamJob.objects.create(name="e", user_workdir=str(tmp_path))
    nowhere = BalsamJob.objects.create(name="n", user_workdir=str(tmp_path / "gone"))
    parents = [nowhere, renamed, elsewhere]
    child = BalsamJob.objects.create(parents=parents)
    with queries() as made:
        found = child.parents_files(project.data)
    assert found == [
        (parent.working_path(project.data), parent.name, ids.short_id(parent.job_id))
        for parent in parents
    ]
    assert len(made) == 1 and "launch_params" not in made.captured_queries[0]["sql"]


def test_a_directory_never_leaves_data(project: Any) -> None:
    for name in ("../../etc", "a/b", "..", ".", "", " ", "x" * 400, "é\n'\"", "-rf"):
        job = BalsamJob.objects.create(name=name, workflow=name)
        path = Path(job.working_directory)
        assert project.data in path.resolve().parents
        path.mkdir(parents=True)


def test_a_user_directory_is_used_where_it_exists(project: Any, tmp_path: Path) -> None:
    job = BalsamJob.objects.create(name="a", user_workdir=str(tmp_path / "mine"))
    assert Path(job.working_directory).parent == project.data
    (tmp_path / "mine").mkdir()
    assert job.working_directory == str(tmp_path / "mine")
    (tmp_path / "mine" / "out.txt").write_text("42")
    assert job.read_file_in_workdir("out.txt") == "42"
    with pytest.raises(ValueError, match="no.txt"):
        job.read_file_in_workdir("no.txt")


# -- values of other libraries ---------------------------------------------------------------------


class Whole:
    """An integer of another library, such as numpy's."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


def test_integers_of_other_libraries_and_paths_are_values(project: Any, tmp_path: Path) -> None:
    BalsamJob.objects.bulk_create(
        [
            BalsamJob(num_nodes=Whole(2), user_workdir=tmp_path, stage_in_url=tmp_path / "in"),
            {"num_nodes": Whole(2), "user_workdir": tmp_path, "stage_in_url": tmp_path / "in"},
        ]
    )
    job = BalsamJob.objects.create()
    job.num_nodes, job.user_workdir, job.stage_in_url = Whole(2), tmp_path, tmp_path / "in"
    job.save()
    BalsamJob.objects.create()
    BalsamJob.objects.filter(num_nodes=1).update(
        num_nodes=Whole(2), user_workdir=tmp_path, stage_in_url=tmp_path / "in"
    )
    columns = BalsamJob.objects.values_list("num_nodes", "user_workdir", "stage_in_url")
    assert list(columns) == [(2, str(tmp_path), str(tmp_path / "in"))] * 4
    for wrong in (1.0, "1", True, None):
        with pytest.raises(InvalidValue):
            BalsamJob(num_nodes=wrong).save()


def test_one_parent_is_a_list_of_one(project: Any) -> None:
    parent = BalsamJob.objects.create()
    forms = [parent, parent.pk, Whole(parent.pk), parent.job_id, str(parent.job_id)]
    same = BalsamJob.objects.filter(pk=parent.pk)
    forms += [f'["{parent.job_id}"]', [parent], (parent.pk,), same]
    for form in forms:
        made = BalsamJob.objects.create(parents=form)
        BalsamJob.objects.bulk_create([{"name": "dict", "parents": form}])
        named = BalsamJob.objects.get(name="dict")
        child = BalsamJob.objects.create()
        child.set_parents(form)
        for job in (made, named, child):
            assert list(job.get_parents()) == [parent], form
        named.delete()
    for nothing in (None, "", "[]", []):
        assert not BalsamJob.objects.create(parents=nothing).get_parents().exists()
    with pytest.raises(InvalidValue):
        BalsamJob(parents="[x")
    with pytest.raises(UsageError, match="not saved"):
        BalsamJob(parents=[BalsamJob()]).save()


def test_many_uuids_are_looked_up_in_few_queries(project: Any) -> None:
    jobs = BalsamJob.objects.bulk_create([BalsamJob() for _ in range(1200)])
    with CaptureQueriesContext(connection) as made:
        found = BalsamJob.objects.keys_of([job.job_id for job in jobs])
    assert found == [job.pk for job in jobs] and len(made) < 5


def test_a_directory_is_that_of_the_process_that_sets_it(
    project: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "here" / "work"
    directory.mkdir(parents=True)
    monkeypatch.chdir(directory.parent)
    made = BalsamJob(user_workdir="work")
    saved = BalsamJob.objects.create()
    saved.user_workdir = "./work"
    saved.save()
    BalsamJob.objects.bulk_create([{"user_workdir": "work"}])
    BalsamJob.objects.create(name="updated")
    BalsamJob.objects.filter(name="updated").update(user_workdir="../here/work")
    changed = BalsamJob.objects.create()
    changed.modify("user_workdir", "work")
    monkeypatch.chdir("/")
    made.save()
    for job in BalsamJob.objects.all():
        assert job.user_workdir == job.working_directory == str(directory)
    home = BalsamJob(user_workdir="~/x")
    assert home.user_workdir == str(Path.home() / "x")
    assert BalsamJob(user_workdir="").user_workdir == ""


def test_renaming_many_jobs_costs_few_statements(project: Any, put: Any) -> None:
    BalsamJob.objects.bulk_create([{"name": str(number)} for number in range(600)])
    BalsamJob._base_manager.update(state=states.JOB_FINISHED)
    old = {job.pk: job.relative_workdir() for job in BalsamJob.objects.all()}
    with CaptureQueriesContext(connection) as made:
        BalsamJob.objects.update(name="new", workflow="w")
    assert len(made) < 12
    assert {job.pk: job.relative_workdir() for job in BalsamJob.objects.all()} == old


def test_bulk_update_checks_values(project: Any) -> None:
    job = BalsamJob.objects.create()
    for name, value in (
        ("num_nodes", -5),
        ("on_parent_failure", "explode"),
        ("data", [1]),
        ("name", None),
    ):
        setattr(job, name, value)
        with pytest.raises(InvalidValue, match=name):
            BalsamJob.objects.bulk_update([job], [name])
        job.refresh_from_db()
    job.wall_minutes = 9
    assert BalsamJob.objects.bulk_update([job], ["wall_minutes"]) == 1
    assert BalsamJob.objects.get().wall_time_minutes == 9 and not job.changed_fields()


def test_objects_keep_no_id_of_rows_that_are_not_there(project: Any) -> None:
    saved = BalsamJob.objects.create()
    good, bad = BalsamJob(), BalsamJob(job_id=saved.job_id)
    with pytest.raises(InvalidValue):
        BalsamJob.objects.bulk_create([good, bad])
    circle = BalsamJob()
    circle._new_parents = [circle.job_id]
    with pytest.raises(DependencyError):
        circle.save()
    assert good.pk is bad.pk is circle.pk is None
    good.save()
    assert BalsamJob.objects.count() == 2


def test_a_job_written_out_has_its_parents(project: Any) -> None:
    parent = BalsamJob.objects.create()
    child = BalsamJob.objects.create(parents=[parent])
    record = child.to_dict()
    assert record["parents"] == [str(parent.job_id)]
    assert BalsamJob(parents=[parent]).to_dict()["parents"] == [str(parent.job_id)]
    text = child.serialize()
    child.delete()
    again = BalsamJob.deserialize(text)
    again.save()
    assert again.job_id == child.job_id and list(again.get_parents()) == [parent]


def test_rows_that_are_made_while_others_are_written_may_ask_the_record(
    project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(insert, "_CHUNK", 3)
    BalsamJob.objects.create(name="first", direct_command="true")

    def given(number: int) -> Iterator[dict[str, Any]]:
        for index in range(number):
            yield {"name": f"j{index}", "num_nodes": BalsamJob.objects.filter(name="first").count()}

    assert insert.stream(BalsamJob, given(10)) == 10
    made = list(BalsamJob.objects.order_by("id").values_list("name", "num_nodes"))
    assert made == [("first", 1), *((f"j{index}", 1) for index in range(10))]


@pytest.mark.parametrize("place", [0, 4, 9])
def test_a_chunk_that_fails_while_the_next_is_made_undoes_all(
    place: int, project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(insert, "_CHUNK", 3)
    there = BalsamJob.objects.create(name="first", direct_command="true").job_id
    rows: list[dict[str, Any]] = [{"name": f"j{index}"} for index in range(10)]
    rows[place]["job_id"] = there
    with pytest.raises(InvalidValue, match="A job_id is there already"):
        insert.stream(BalsamJob, iter(rows))
    assert BalsamJob.objects.count() == 1

    def breaks() -> Iterator[dict[str, Any]]:
        yield from ({"name": f"j{index}"} for index in range(place))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        insert.stream(BalsamJob, breaks())
    assert BalsamJob.objects.count() == 1


UNUSABLE = [
    ("args", "it's", "^The value of args can not be split into words .*: it's$"),
    ("direct_command", 'echo "a', "^The value of direct_command can not be split"),
    ("mpi_flags", "--x \\", "^The value of mpi_flags can not be split"),
    ("postprocess_override", "'", "^The value of postprocess_override can not be split"),
    ("cpu_affinity", "cores", "^cpu_affinity is one of none, depth, core, numa, not 'cores'"),
    (
        "launch_params",
        {"cpu_affinity": "cores"},
        "^cpu_affinity in launch_params is one of none, depth, core, numa, not 'cores'",
    ),
    ("on_parent_failure", "stop", "^on_parent_failure is one of fail, ignore, not 'stop'"),
]


@pytest.mark.parametrize(("name", "value", "told"), UNUSABLE)
def test_what_no_launcher_could_use_is_refused_at_once(
    project: Any, name: str, value: Any, told: str
) -> None:
    """However it is written, and not when the job has waited for days in a queue."""
    with pytest.raises(InvalidValue, match=told):
        BalsamJob.objects.create(name="a", **{name: value})
    with pytest.raises(InvalidValue, match=told):
        BalsamJob.objects.bulk_create([{"name": "a", name: value}])
    assert not BalsamJob.objects.exists()
    job = BalsamJob.objects.create(name="a")
    setattr(job, name, value)
    with pytest.raises(InvalidValue, match=told):
        job.save()
    with pytest.raises(InvalidValue, match=told):
        BalsamJob.objects.update(**{name: value})
    job.refresh_from_db()
    assert getattr(job, name) == BalsamJob._meta.get_field(name).get_default()


def test_words_may_be_quoted(project: Any) -> None:
    job = BalsamJob(name="a", args="'it is' \"it's\" a\\ b", cpu_affinity="numa")
    job.save()
    job.refresh_from_db()
    assert job.args == "'it is' \"it's\" a\\ b"


@pytest.mark.parametrize("name", ["executable", "preprocess", "postprocess"])
def test_the_commands_of_an_application_are_words(project: Any, name: str) -> None:
    with pytest.raises(InvalidValue, match=f"^The value of {name} can not be split"):
        ApplicationDefinition.register(**{"name": "a", "executable": "echo", name: "echo 'a"})
    app = ApplicationDefinition.register(name="a", executable="echo")
    with pytest.raises(InvalidValue, match=f"^The value of {name} can not be split"):
        app.modify(name, "echo 'a")
    app.refresh_from_db()
    assert app.executable == "echo"


def test_an_application_of_an_older_balsam_can_be_changed_and_saved(project: Any) -> None:
    app = ApplicationDefinition.register(name="a", executable="echo")
    older = ApplicationDefinition._base_manager.filter(pk=app.pk)
    models.QuerySet.update(older, postprocess="echo 'a")
    app = ApplicationDefinition.objects.get()
    app.description = "x"
    app.save()
    ApplicationDefinition.objects.update(description="y")
    with pytest.raises(InvalidValue, match="postprocess can not be split"):
        ApplicationDefinition.objects.update(postprocess="echo 'b")
    app.refresh_from_db()
    assert (app.description, app.postprocess) == ("y", "echo 'a")


@pytest.mark.parametrize(
    "add",
    [
        lambda: ApplicationDefinition(name="a").save(),
        lambda: ApplicationDefinition.objects.create(name="a", executable=" "),
        lambda: dag.add_app("a", ""),
    ],
)
def test_an_application_without_an_executable_is_refused(
    project: Any, add: Callable[[], object]
) -> None:
    with pytest.raises(InvalidValue, match=r"^The application 'a' needs an executable\.$"):
        add()
    assert not ApplicationDefinition.objects.exists()


def test_an_application_that_was_read_can_not_lose_its_command_either(project: Any) -> None:
    ApplicationDefinition(name="a", command_template="echo {{ x }}").save()
    app = ApplicationDefinition.objects.get()
    app.command_template = " "
    with pytest.raises(InvalidValue, match="needs an executable"):
        app.save()


def test_saving_a_part_of_an_application_writes_no_other_part(project: Any) -> None:
    ApplicationDefinition.register(name="a", executable="echo")
    part = ApplicationDefinition.objects.only("id", "name").get()
    ApplicationDefinition.objects.update(executable="printf")
    part.name = "b"
    part.save()
    assert ApplicationDefinition.objects.values_list("name", "executable").get() == ("b", "printf")


def test_many_jobs_are_updated_though_one_holds_an_old_value(project: Any) -> None:
    jobs = [BalsamJob.objects.create(name=name) for name in "ab"]
    older = BalsamJob._base_manager.filter(pk=jobs[0].pk)
    models.QuerySet.update(older, mpi_flags="--x 'a")
    jobs = list(BalsamJob.objects.order_by("id"))
    jobs[1].mpi_flags = "--y"
    BalsamJob.objects.bulk_update(jobs, ["mpi_flags"])
    flags = BalsamJob.objects.order_by("id").values_list("mpi_flags", flat=True)
    assert list(flags) == ["--x 'a", "--y"]
