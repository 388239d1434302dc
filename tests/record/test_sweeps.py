"""Sweeps and streams of jobs in a real record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from balsam.core import insert, sweeps
from balsam.core.models import ApplicationDefinition, BalsamJob, EventLog
from balsam.core.sweeps import Rows, Sweep
from balsam.core.sweeps.axes import Lines, Span, Table, Values
from balsam.errors import DependencyError, InvalidValue, NoApplication, UnknownName

TEMPLATE = {"name": "run", "workflow": "w", "application": "echo"}


def over(*texts: str, **how: bool) -> Rows:
    return Rows([(Span if ":" in text else Values)(text) for text in texts], **how)


def added(**fields: Any) -> list[Any]:
    """Values of the jobs in the record, in the order they were added."""
    (name,) = fields or ("args",)
    return list(BalsamJob.objects.order_by("id").values_list(name, flat=True))


# -- filling in -----------------------------------------------------------------------------------


def test_a_sweep_fills_in_every_kind_of_field(app: ApplicationDefinition) -> None:
    sweep = Sweep(
        {
            "name": "{{ m }}_{{ index }}",
            "workflow": "w{{ m }}",
            "app": "{{ 'echo' }}",
            "args": "-x {{ x }}",
            "env": {"X": "{{ x }}", "FIXED": "1"},
            "data": {"x": ["{{ x }}", 1]},
            "tags": '{"m": "{{ m }}"}',
            "processes-per-node".replace("-", "_"): "{{ x + 1 }}",
            "gpus_per_rank": "{{ x / 2 }}",
            "auto_timeout_retry": "{{ x == 0 }}",
            "wall_minutes": 7,
        },
        over("x=0:2", "m=a,b"),
    )
    assert (len(sweep), sweep.add()) == (4, 4)
    job = BalsamJob.objects.get(name="b_3")
    assert (job.workflow, job.application, job.args) == ("wb", "echo", "-x 1")
    assert job.environ_vars == {"X": "1", "FIXED": "1"}
    assert (job.data, job.tags) == ({"x": ["1", 1]}, {"m": "b"})
    assert (job.ranks_per_node, job.gpus_per_rank, job.wall_time_minutes) == (2, 0.5, 7)
    assert job.auto_timeout_retry is False
    assert BalsamJob.objects.get(name="a_0").auto_timeout_retry is True
    assert EventLog.objects.count() == 4


def test_names_without_anything_to_fill_in_are_numbered(app: ApplicationDefinition) -> None:
    Sweep({**TEMPLATE, "args": "{{ x }}"}, over("x=5:8")).add()
    assert added(name=1) == ["run_0", "run_1", "run_2"]


def test_columns_named_like_fields_fill_them(app: ApplicationDefinition, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("name,num nodes,description,state,priority,env\np,2,d,X,5,A=1:B=2\n")
    template = {"workflow": "w", "application": "echo", "args": "{{ priority }}"}
    sweep = Sweep({**template, "description": "given"}, Rows([Table(str(table))]))
    assert sweep.filled == {"name", "num_nodes", "env"}
    assert sweep.unused == ["description", "state"]
    sweep.add()
    (job,) = BalsamJob.objects.all()
    assert (job.name, job.num_nodes, job.description) == ("p", 2, "given")
    assert job.environ_vars == {"A": "1", "B": "2"}
    assert (job.args, job.priority) == ("5", 0), "a column in a template is only that"


def test_rows_that_change_nothing_are_refused(tmp_path: Path, app: ApplicationDefinition) -> None:
    table = tmp_path / "t.csv"
    table.write_text("state,what\n1,2\n")
    for rows in (Rows([Table(str(table))]), over("x=0:3"), over("name=a,b", "x=0:3")):
        with pytest.raises(InvalidValue, match="No field uses"):
            Sweep(TEMPLATE, rows)


def test_rows_of_a_program(app: ApplicationDefinition) -> None:
    rows = [{"x": number, "note": "n"} for number in range(3)]
    made = sweeps.jobs({**TEMPLATE, "args": "{{ x * 2 }}"}, rows)
    BalsamJob.objects.bulk_create(made)
    assert added() == ["0", "2", "4"]
    with pytest.raises(InvalidValue, match="Row 1"):
        sweeps.jobs(TEMPLATE, [{"x": 1}, {"y": 1}])
    with pytest.raises(InvalidValue, match="needs rows"):
        sweeps.jobs(TEMPLATE, [])


def test_two_columns_for_one_field_are_named_with_their_file(
    app: ApplicationDefinition, tmp_path: Path
) -> None:
    table = tmp_path / "t.csv"
    table.write_text("name,application,app,args\na,echo,echo,x\n")
    words = "t.csv: 'application' and 'app' both fill application; rename or leave out one of them."
    with pytest.raises(InvalidValue, match=words):
        Sweep({"workflow": "w"}, Rows([Table(str(table))]))


def test_a_column_leaves_no_name_empty(app: ApplicationDefinition, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("name,workflow\na,w\nb,\n")
    with pytest.raises(InvalidValue, match="t.csv, line 3: The workflow of a job can not be empty"):
        Sweep({"application": "echo"}, Rows([Table(str(table))])).add()


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"nam": "x"}, UnknownName, "no field 'nam'; did you mean 'name'"),
        ({"args": "a", "application_args": "b"}, UnknownName, "twice.*: application_args, args$"),
        ({"state": "x"}, InvalidValue, "can not be set by hand"),
        ({"num_nodes": 0}, InvalidValue, "^num_nodes is at least 1"),
        ({"application": "ehco"}, NoApplication, "^No application 'ehco'.*'echo'"),
        ({"args": "{{ y }}"}, InvalidValue, "nothing gives a value to {{ y }}"),
        ({"env": {"A": "{{ y }}"}}, InvalidValue, "env A: nothing gives a value"),
        ({"name": "{{ 'a' * x }}"}, InvalidValue, r"^Row 0 \(x=0\): The name of a job can not be"),
        ({"workflow": "{{ ' ' * x }}"}, InvalidValue, "^Row 0 .*: The workflow of a job can not"),
        ({"num_nodes": "{{ x }}"}, InvalidValue, r"^Row 0 \(x=0\): num_nodes is at least 1"),
        ({"num_nodes": "{{ 2 - x }}"}, InvalidValue, r"^Row 2 \(x=2\): num_nodes is at least 1"),
        ({"num_nodes": "1{{ 'a' if x > 1 }}"}, InvalidValue, r"^Row 2 .*whole number, not '1a'"),
        ({"on_parent_failure": "{{ x }}"}, InvalidValue, "^Row 0 .*on_parent_failure is one of"),
        ({"application": "e{{ x }}"}, NoApplication, r"^Row 0 \(x=0\): No application 'e0'"),
        ({"data": "{{ x }}"}, InvalidValue, "^Row 0 .*data is a dict"),
        ({"args": "{{ 1 / (x - 2) }}"}, InvalidValue, r"^Row 2 \(x=2\): args: .*division by zero"),
        ({"args": "'{{ x }}{{ \"'\" * x }}'"}, InvalidValue, "^Row 1 .*quotes in the arguments"),
    ],
)
def test_what_is_wrong_changes_nothing_and_is_named_with_its_row(
    app: ApplicationDefinition, fields: dict[str, Any], error: type[Exception], words: str
) -> None:
    for act in (Sweep.check, Sweep.add):
        with pytest.raises(error, match=words):
            act(Sweep({**TEMPLATE, "description": "{{ x }}", **fields}, over("x=0:3")))
    assert BalsamJob.objects.count() == EventLog.objects.count() == 0


def test_a_wrong_row_far_down_is_named_by_its_line(
    app: ApplicationDefinition, tmp_path: Path
) -> None:
    table = tmp_path / "t.csv"
    rows = [f"j{number},{0 if number == 7000 else 1}" for number in range(8000)]
    table.write_text("\n".join(["name,num_nodes", *rows]))
    sweep = Sweep({"workflow": "w", "application": "echo"}, Rows([Table(str(table))]))
    with pytest.raises(InvalidValue, match="t.csv, line 7002: num_nodes is at least 1, not 0"):
        sweep.add()
    assert BalsamJob.objects.count() == EventLog.objects.count() == 0


def test_checking_writes_nothing(app: ApplicationDefinition) -> None:
    assert Sweep({**TEMPLATE, "args": "{{ x }}"}, over("x=0:3")).check() == 3
    assert BalsamJob.objects.count() == 0


# -- streams --------------------------------------------------------------------------------------


def test_a_stream_is_written_as_it_comes(project: Any) -> None:
    taken = 0
    written: list[tuple[int, int]] = []

    def given() -> Iterator[dict[str, Any]]:
        nonlocal taken
        for taken in range(1, 12_001):
            yield {"name": str(taken)}

    count = insert.stream(
        BalsamJob, given(), "swept", progress=lambda done: written.append((done, taken))
    )
    assert count == 12_000
    assert [done for done, _ in written] == [5000, 10_000, 12_000]
    assert all(ahead - done <= 1 for done, ahead in written), "no more than a chunk is kept"
    ids = list(BalsamJob.objects.order_by("id").values_list("id", flat=True))
    assert ids == list(range(ids[0], ids[0] + 12_000))
    assert added(name=1) == [str(number) for number in range(1, 12_001)]
    assert EventLog.objects.filter(message="swept").count() == 12_000


def test_what_interrupts_a_stream_undoes_it(project: Any) -> None:
    def given() -> Iterator[dict[str, Any]]:
        yield from ({"name": "a"} for _ in range(6000))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        insert.stream(BalsamJob, given())

    def stop(done: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        insert.jobs(BalsamJob, [{"name": "a"}], progress=stop)
    assert insert.stream(BalsamJob, []) == 0
    assert BalsamJob.objects.count() == EventLog.objects.count() == 0


def test_jobs_of_one_stream_name_each_other_by_uuid(project: Any) -> None:
    from balsam.core import ids

    first, second = ids.new_uuid(), ids.new_uuid()
    insert.stream(
        BalsamJob,
        [
            {"name": "b", "parents": [str(first)], "job_id": second},
            {"name": "a", "job_id": first},
            {"name": "c", "parents": [first, second]},
        ],
    )
    jobs = {job.name: job for job in BalsamJob.objects.all()}
    assert list(jobs["b"].get_parents()) == [jobs["a"]]
    assert set(jobs["c"].get_parents()) == {jobs["a"], jobs["b"]}
    with pytest.raises(DependencyError):
        third = ids.new_uuid()
        insert.stream(BalsamJob, [{"job_id": third, "parents": [third]}])
    assert BalsamJob.objects.count() == 3


def test_objects_of_equal_but_other_values_are_looked_at(project: Any) -> None:
    for fields in ({"num_nodes": True}, {"wait_for_parents": "yes"}, {"max_attempts": False}):
        with pytest.raises(InvalidValue):
            BalsamJob.objects.bulk_create([BalsamJob(**fields)])
    job = BalsamJob(data={"a": [1]}, num_nodes=3, gpus_per_rank=1)
    BalsamJob.objects.bulk_create([job])
    assert job.changed_fields() == []
    job.data["a"].append(2)
    assert job.changed_fields() == ["data"]
    job.save()
    assert BalsamJob.objects.get().data == {"a": [1, 2]}
    assert BalsamJob.objects.only("name").get().changed_fields() == []


def test_errors_name_the_place_in_each_file(app: ApplicationDefinition, tmp_path: Path) -> None:
    lines, table = tmp_path / "l.txt", tmp_path / "t.csv"
    lines.write_text("a\nb\n")
    table.write_text("n\n1\nmany\n")
    template = {**TEMPLATE, "args": "{{ line }}", "num_nodes": "{{ n }}"}
    sweep = Sweep(template, Rows([Lines(str(lines)), Table(str(table))]))
    with pytest.raises(InvalidValue, match=r"l\.txt, line 1 and .*t\.csv, line 3: num_nodes is"):
        sweep.check()


def test_a_person_writes_env_and_leaves_no_name_empty(app: ApplicationDefinition) -> None:
    job = BalsamJob(**TEMPLATE)
    job.save()
    assert job.modify("env", "A=1") == {"A": "1"}
    assert BalsamJob.objects.all().modify("env", "B=2") == 1
    job.refresh_from_db()
    assert job.environ_vars == {"B": "2"}
    for field in ("name", "workflow"):
        with pytest.raises(InvalidValue, match=f"The {field} of a job can not be emptied"):
            job.modify(field, "")
