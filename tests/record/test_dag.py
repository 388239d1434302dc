"""The task graph as users write it, outside jobs and inside them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from balsam import states
from balsam.core.models import ApplicationDefinition, BalsamJob, BatchJob
from balsam.errors import (
    BalsamError,
    DependencyError,
    InvalidValue,
    NoApplication,
    NoSuchJob,
    UnknownName,
    UsageError,
)
from balsam.launcher import dag

Script = Callable[..., str]


def names(jobs: Any) -> list[str]:
    return [job.name for job in jobs]


def test_outside_a_job_there_is_no_current_one(project: Any) -> None:
    assert dag.JOB_ID == "" and dag.TIMEOUT is False and dag.ERROR is False
    assert dag.current_job is None and dag.parents is None and dag.children is None
    with pytest.raises(UsageError, match="spawn_child"):
        dag.spawn_child(name="a")
    with pytest.raises(AttributeError):
        dag.nothing  # noqa: B018


def test_add_job_takes_classic_arguments_and_any_field(app: ApplicationDefinition) -> None:
    job = dag.add_job("a", "w", "echo", "words", "x y", procs_per_node=3, wall_minutes=5)
    read = BalsamJob.objects.get()
    assert job == read and read.app == app
    assert (read.name, read.workflow, read.description, read.args) == ("a", "w", "words", "x y")
    assert (read.ranks_per_node, read.wall_time_minutes, read.cpu_affinity) == (3, 5, "depth")
    assert read.environ_vars == {} and read.data == {}
    unsaved = dag.add_job(name="b", save=False, environ_vars="A=1", data={"x": 1})
    assert unsaved.pk is None and unsaved.environ_vars == {"A": "1"}
    BalsamJob.objects.bulk_create([unsaved])
    with pytest.raises(UnknownName, match="'num_nodes'"):
        dag.add_job(name="c", num_node=4)
    with pytest.raises(NoApplication):
        dag.add_job("c", "w", "nothing")
    assert BalsamJob.objects.count() == 2


def test_an_edge_is_given_in_every_form(project: Any) -> None:
    forms: list[Callable[[BalsamJob], Any]] = [
        lambda job: job,
        lambda job: job.job_id,
        lambda job: str(job.job_id),
        lambda job: job.job_id.hex,
        lambda job: job.pk,
        lambda job: str(job.pk),
        lambda job: BalsamJob.objects.filter(pk=job.pk),
    ]
    for form in forms:
        parent, child = BalsamJob.objects.create(), BalsamJob.objects.create()
        dag.add_dependency(form(parent), form(child))
        assert list(child.get_parents()) == [parent]
        with pytest.raises(RuntimeError):
            dag.add_dependency(form(child), form(parent))
        with pytest.raises(DependencyError):
            dag.add_dependency(form(child), form(child))
    with pytest.raises(UsageError, match="QuerySet"):
        dag.add_dependency(BalsamJob.objects.all(), child)
    with pytest.raises(UsageError, match="not saved"):
        dag.add_dependency(BalsamJob(name="new"), child)
    with pytest.raises(NoSuchJob):
        dag.add_dependency(10**6, child)


def test_an_edge_shows_in_the_objects_that_were_given(project: Any) -> None:
    parent, child = BalsamJob.objects.create(), BalsamJob.objects.create()
    child.update_state(states.PREPROCESSED)
    dag.add_dependency(parent, child)
    assert child.state == states.AWAITING_PARENTS


def tree() -> list[BalsamJob]:
    """a over b and c, which are over d; d over e."""
    jobs = [BalsamJob.objects.create(name=name, workflow="w") for name in "abcde"]
    a, b, c, d, e = jobs
    for parent, child in ((a, b), (a, c), (b, d), (c, d), (d, e)):
        dag.add_dependency(parent, child)
    return jobs


def test_jobs_are_visited_by_level_each_once(project: Any) -> None:
    jobs = tree()
    assert names(dag.breadth_first_iterator([jobs[0]])) == ["a", "b", "c", "d", "e"]
    assert names(dag.breadth_first_iterator([jobs[0]], max_depth=1)) == ["a", "b", "c"]
    assert names(dag.breadth_first_iterator([jobs[0]], max_depth=0)) == ["a"]
    assert names(dag.breadth_first_iterator([jobs[3], jobs[1]])) == ["d", "b", "e"]
    assert names(dag.breadth_first_iterator([])) == []
    assert not any(dag.detect_circular(job) for job in jobs)


def test_killing_reaches_everything_below(project: Any) -> None:
    jobs = tree()
    assert dag.kill(jobs[1]) == 3
    assert jobs[1].state == states.USER_KILLED
    assert BalsamJob.objects.counts_by_state() == {states.CREATED: 2, states.USER_KILLED: 3}
    assert dag.kill(jobs[1]) == 0


def test_killing_one_fails_what_waits_for_it(project: Any) -> None:
    jobs = tree()
    assert dag.kill(jobs[3].job_id, recursive=False) == 1
    assert [job.state for job in BalsamJob.objects.order_by("name")] == [
        *[states.CREATED] * 3, states.USER_KILLED, states.FAILED,
    ]  # fmt: skip


def test_a_clone_is_a_new_job_that_has_done_nothing(app: Any, put: Callable[..., None]) -> None:
    job = BalsamJob.objects.create(
        name="a", workflow="w", application="echo", data={"x": [1]}, user_workdir="/tmp"
    )
    put(job, state=states.JOB_FINISHED, attempt=2, return_code=0)
    copy = dag.clone(job, name="b", wall_minutes=9)
    assert copy.pk is None and copy.state == states.CREATED
    copy.save()
    assert (copy.name, copy.workflow, copy.application) == ("b", "w", "echo")
    assert (copy.attempt, copy.return_code, copy.user_workdir) == (0, None, "")
    assert copy.wall_time_minutes == 9 and copy.job_id != job.job_id
    copy.data["x"].append(2)
    assert job.data == {"x": [1]}
    with pytest.raises(ValueError):
        dag.clone(job, nmae="c")
    ApplicationDefinition.register(name="other", executable="x")
    other = dag.clone(job, application="other")
    other.save()
    assert other.application == "other"


def test_a_workflow_is_copied_with_its_edges(project: Any) -> None:
    jobs = tree()
    outside = BalsamJob.objects.create(name="z", workflow="elsewhere")
    dag.add_dependency(outside, jobs[0])
    new = dag.wf_from_template("w", "copy", b={"args": "changed"}, e={"wall_minutes": 7})
    assert sorted(names(new)) == list("abcde")
    copies = {job.name: job for job in new}
    assert copies["b"].args == "changed" and copies["e"].wall_time_minutes == 7
    assert sorted(names(copies["d"].get_parents())) == ["b", "c"]
    assert list(copies["a"].get_parents()) == [outside]
    assert {job.workflow for job in copies["d"].get_parents()} == {"copy"}
    for wrong in (
        lambda: dag.wf_from_template("nothing", "new"),
        lambda: dag.wf_from_template("w", "copy"),
        lambda: dag.wf_from_template("w", "new", x={}),
        lambda: dag.wf_from_template("w", "new", a={"nmae": 1}),
    ):
        with pytest.raises(ValueError):
            wrong()
    BalsamJob.objects.create(name="a", workflow="w")
    with pytest.raises(InvalidValue, match="more than one"):
        dag.wf_from_template("w", "new")
    assert not BalsamJob.objects.filter(workflow="new").exists()


def test_applications_are_added_changed_and_listed(
    project: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    dag.add_app("one", "/bin/echo", description="d")
    app = dag.add_app("one", "/bin/true", postprocess="p", checkexe=True)
    dag.add_app("two", "x")
    assert capsys.readouterr().out.split() == [
        "Created", "application", "one", "Updated", "application", "one",
        "Created", "application", "two",
    ]  # fmt: skip
    assert (app.executable, app.postprocess, app.description) == ("/bin/true", "p", "")
    assert dag.get_apps() == ["one", "two"]
    assert capsys.readouterr().out == "one\ntwo\n"
    assert dag.get_apps(verbose=False) == ["one", "two"]
    with pytest.raises(InvalidValue, match="/no/such"):
        dag.add_app("three", "/no/such program", checkexe=True)
    assert capsys.readouterr().out == ""
    assert dag.get_active_database(verbose=False) == str(project.path)
    assert dag.get_database_paths(verbose=False) == []


def test_submitting_says_what_to_do_instead(project: Any) -> None:
    with pytest.raises(BalsamError, match="balsam launcher"):
        dag.submit()


# -- inside a job ---------------------------------------------------------------------------------

SPAWN = """
from balsam.launcher import dag
fresh = dag.spawn_child(name="fresh", args="x", wait_for_parents=False)
copy = dag.spawn_child(clone=True, name="copy", wall_minutes=7)
both = dag.spawn_child(name="both", parents=[fresh, copy.job_id])
print(dag.current_job.name, dag.JOB_ID, dag.TIMEOUT, dag.ERROR)
print(*[job.name for job in dag.parents], "|", *sorted(job.name for job in dag.children))
"""


def test_a_job_spawns_children(app: Any, script: Script) -> None:
    root = BalsamJob.objects.create(name="root")
    job = BalsamJob.objects.create(
        name="me", workflow="w", application="echo", parents=[root], num_nodes=2, tags={"a": "b"}
    )
    out = script(SPAWN, BALSAM_JOB_ID=job.job_id, BALSAM_JOB_ERROR="TRUE")
    assert out.splitlines() == [f"me {job.job_id} False True", "root | both copy fresh"]
    fresh, copy, both = (BalsamJob.objects.get(name=name) for name in ("fresh", "copy", "both"))
    assert (fresh.workflow, fresh.application, fresh.num_nodes) == ("w", "", 1)
    assert not fresh.wait_for_parents and list(fresh.get_parents()) == [job]
    assert (copy.workflow, copy.application, copy.num_nodes) == ("w", "echo", 2)
    assert copy.tags == {"a": "b"} and copy.wall_time_minutes == 7
    assert names(copy.parents_in_order()) == ["root", "me"]
    assert names(both.parents_in_order()) == ["me", "fresh", "copy"]
    assert "spawned by [me" in fresh.state_history


def test_a_job_stores_results_from_inside(project: Any, script: Script) -> None:
    job = BalsamJob.objects.create(name="me")
    script(
        "from balsam.launcher.dag import current_job\n"
        "current_job.data['x'] = 1\ncurrent_job.save()\n",
        BALSAM_JOB_ID=job.job_id,
    )
    job.refresh_from_db()
    assert job.data == {"x": 1}


IMPORT = """
import importlib, json, sys
import balsam.core
from django.db.backends.base.base import BaseDatabaseWrapper
def connect(self):
    raise AssertionError("a query was made")
BaseDatabaseWrapper.connect = connect
for name in json.loads(sys.argv[1] if len(sys.argv) > 1 else NAMES):
    importlib.import_module(name)
from balsam.launcher import dag
from balsam.launcher.dag import add_job, spawn_child, JOB_ID
from balsam.core.models import *
from balsam.launcher.futures import *
print(repr(str(JOB_ID)))
"""
PUBLIC = (
    "balsam",
    "balsam.core.models",
    "balsam.service.models",
    "balsam.launcher.dag",
    "balsam.launcher.futures",
    "balsam.launcher.async",
)


def test_importing_asks_the_database_nothing_even_in_a_job_or_without_a_project(
    home: Path, script: Script
) -> None:
    text = f"NAMES = {json.dumps(json.dumps(PUBLIC))}\n{IMPORT}"
    assert script(text) == "''\n"
    key = "01890a5d-ac96-774b-bcce-b302099a8057"
    assert script(text, BALSAM_JOB_ID=key) == f"'{key}'\n"


def test_the_first_query_without_a_project_says_what_to_do(home: Path, script: Script) -> None:
    out = script(
        "from balsam.core.models import BalsamJob\n"
        "from balsam.errors import ProjectNotFound\n"
        "try:\n    BalsamJob.objects.count()\n"
        "except ProjectNotFound as error:\n    print(error)\n"
    )
    assert "balsam init" in out


def test_a_job_that_is_not_in_this_project_says_so(project: Any, script: Script) -> None:
    out = script(
        "from balsam.launcher import dag\nfrom balsam.errors import NoSuchJob\n"
        "try:\n    dag.current_job\nexcept NoSuchJob as error:\n    print(error)\n",
        BALSAM_JOB_ID="01890a5d-ac96-774b-bcce-b302099a8057",
    )
    assert "BALSAM_DB_PATH" in out


def test_a_clone_keeps_the_parents(project: Any) -> None:
    first, second = (BalsamJob.objects.create(name=name) for name in "ab")
    job = BalsamJob.objects.create(name="c", parents=[second, first])
    same, other = dag.clone(job), dag.clone(job, parents=[first])
    BalsamJob.objects.bulk_create([same, other])
    assert list(same.parents_in_order()) == [second, first]
    assert list(other.get_parents()) == [first]
    again = dag.clone(dag.clone(job))
    again.save()
    assert list(again.parents_in_order()) == [second, first]


def test_new_jobs_belong_to_the_batch_job_of_the_one_that_makes_them(
    project: Any, script: Script
) -> None:
    batch, other = BatchJob.objects.create(), BatchJob.objects.create()
    job = BalsamJob.objects.create(queued_launch=batch)
    text = f"""
from balsam.launcher import dag
dag.add_job(name="added")
dag.add_job(name="elsewhere", batch_job_id={other.pk})
dag.add_job(name="free", queued_launch=None)
dag.spawn_child(name="child")
dag.spawn_child(clone=True, name="twin")
"""
    script(text, BALSAM_JOB_ID=job.job_id)
    found = dict(BalsamJob.objects.exclude(pk=job.pk).values_list("name", "queued_launch"))
    assert found == {
        "added": batch.pk, "elsewhere": other.pk, "free": None, "child": batch.pk,
        "twin": batch.pk,
    }  # fmt: skip
    script("from balsam.launcher import dag\ndag.add_job(name='stranger')", BALSAM_JOB_ID="0" * 32)
    assert BalsamJob.objects.get(name="stranger").queued_launch is None
