"""Names and ids that begin in some way."""

from __future__ import annotations

import os
from pathlib import Path

import click
import pytest
from django.db import connection

from balsam.cli import completion
from balsam.conf import current
from balsam.conf.project import Project
from balsam.core import candidates
from balsam.core.models import ApplicationDefinition, BalsamJob

HERE = click.Context(click.Command("x"))
PARAM = click.Option(["--x"])


@pytest.fixture
def jobs(app: ApplicationDefinition) -> list[BalsamJob]:
    """Twelve jobs of two workflows; every other has the same name."""
    rows = [
        {"name": f"sim_{n % 2 and n}", "workflow": "b" if n > 6 else "a", "application": "echo"}
        for n in range(1, 13)
    ]
    BalsamJob.objects.bulk_create(rows)
    return list(BalsamJob.objects.order_by("id"))


def words(found: list[candidates.Candidate]) -> list[str]:
    return [word for word, _ in found]


def test_each_kind_by_its_beginning(jobs: list[BalsamJob]) -> None:
    assert candidates.apps("ec", 5) == [("echo", "")]
    assert candidates.apps("ex", 5) == []
    assert words(candidates.workflows("", 5)) == ["a", "b"]
    assert words(candidates.names("sim_1", 5)) == ["sim_1", "sim_11"]
    assert words(candidates.names("SIM", 5)) == []
    assert words(candidates.names("", 2)) == ["sim_0", "sim_1"]


def test_characters_that_mean_something_in_patterns_are_only_themselves(project: Project) -> None:
    for name in ("a_1", "a%1", "a*1", "ab1", "\u00e9t\u00e9"):
        BalsamJob(name=name, direct_command="true").save()
    assert words(candidates.names("a_", 5)) == ["a_1"]
    assert words(candidates.names("a%", 5)) == ["a%1"]
    assert words(candidates.names("a*", 5)) == ["a*1"]
    assert words(candidates.names("\u00e9", 5)) == ["\u00e9t\u00e9"]


def test_ids_newest_first(jobs: list[BalsamJob]) -> None:
    assert words(candidates.jobs("", 3)) == ["12", "11", "10"]
    assert candidates.jobs("1", 9) == [("12", "sim_0"), ("11", "sim_11"), ("10", "sim_0"),
                                       ("1", "sim_1")]  # fmt: skip
    assert words(candidates.jobs("1", 2)) == ["12", "11"]
    assert words(candidates.jobs("7", 9)) == ["7"]


def test_uuids_in_the_spelling_that_was_begun(jobs: list[BalsamJob]) -> None:
    whole = str(jobs[0].job_id)
    assert whole in words(candidates.jobs("0" + whole[1:4], 99))
    assert words(candidates.jobs(whole[:30], 99)) == [whole]
    assert words(candidates.jobs(jobs[0].job_id.hex[:28], 99)) == [jobs[0].job_id.hex]
    assert words(candidates.jobs("xyz", 9)) == []


def test_no_more_than_asked_for_and_no_more_than_helps(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"name": f"n{n:04}", "direct_command": "true"} for n in range(300)]
    BalsamJob.objects.bulk_create(rows)
    assert len(completion.names(HERE, PARAM, "n")) == completion.MOST
    assert len(completion.jobs(HERE, PARAM, "")) == completion.MOST
    monkeypatch.setattr(candidates, "NEWEST_JOBS", 10)
    assert words(candidates.names("n", 99)) == [f"n{n:04}" for n in range(290, 300)]


def test_names_no_shell_can_type_are_left_out(project: Project) -> None:
    for name in ("good", "two\nlines", "tab\there", " "):
        BalsamJob(name=name, direct_command="true").save()
    assert [item.value for item in completion.names(HERE, PARAM, "")] == ["good"]


def test_jobs_are_offered_by_id_and_by_name(jobs: list[BalsamJob]) -> None:
    found = completion.jobs(HERE, PARAM, "12")
    assert [(item.value, item.help) for item in found] == [("12", "sim_0")]
    assert [item.value for item in completion.jobs(HERE, PARAM, "sim_3")] == ["sim_3"]


@pytest.mark.sqlite
def test_without_a_project_or_with_a_broken_one_nothing_is_offered(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    BalsamJob(name="good", direct_command="true").save()
    connection.close()
    project.database_file.write_bytes(b"not a database" * 1000)
    assert completion.names(HERE, PARAM, "") == []
    connection.close()
    current.forget()
    monkeypatch.delenv("BALSAM_DB_PATH")
    monkeypatch.chdir(tmp_path)
    assert os.environ.get("BALSAM_SITE_PATH") is None
    assert completion.apps(HERE, PARAM, "") == []
    assert capsys.readouterr() == ("", "")


def test_projects_by_name(project: Project, home: Path) -> None:
    from balsam.conf import registry

    registry.add(project)
    (item,) = completion.projects(HERE, PARAM, project.name[:2])
    assert (item.value, item.help) == (project.name, str(project.path))
