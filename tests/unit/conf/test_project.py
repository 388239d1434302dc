"""Projects: made whole or not at all, and found from everywhere inside."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import balsam
from balsam import errors
from balsam.conf import new_project, settings
from balsam.conf import project as projects


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def tree(path: Path) -> list[str]:
    return sorted(str(p.relative_to(path)) for p in path.rglob("*"))


def mark(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / projects.MARKER).write_text("{}")
    return path


def test_a_new_project_is_complete(tmp_path: Path) -> None:
    made = new_project.create(tmp_path / "new" / "campaign")
    assert made.path == tmp_path / "new" / "campaign"
    assert tree(made.path) == [
        ".balsam-site", "balsamdb", "data", "job-template.sh", "log", "log/outcomes", "qsubmit",
        "settings.yml",
    ]  # fmt: skip
    assert made.name == "campaign"
    assert len(made.id) == 32
    assert mode(made.database_dir) == 0o700
    assert mode(made.path / projects.MARKER) == 0o440
    assert os.access(made.job_template, os.X_OK)
    marker = json.loads((made.path / projects.MARKER).read_text())
    assert set(marker) == {"id", "name", "created", "balsam"}
    assert marker["balsam"] == balsam.__version__
    assert made.settings() == settings.Settings()
    assert made.settings() is made.settings()
    assert projects.find(made.data, {}) == made


def test_an_ordinary_directory_becomes_a_project_and_keeps_its_files(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "input").write_text("mine too")
    (tmp_path / "job-template.sh").write_text("#!/bin/sh\n")
    (tmp_path / "settings.yml").write_text("jobs: {max_attempts: 3}\n")
    made = new_project.create(tmp_path, name="Anna's campaign")
    assert made.name == "Anna's campaign"
    assert made.job_template.read_text() == "#!/bin/sh\n"
    assert made.settings().jobs.max_attempts == 3
    assert (tmp_path / "data" / "input").read_text() == "mine too"


def test_an_existing_project_is_refused_and_untouched(tmp_path: Path) -> None:
    made = new_project.create(tmp_path / "it")
    before = tree(made.path), made.id
    with pytest.raises(errors.ProjectExists, match="is a Balsam project already"):
        new_project.create(tmp_path / "it")
    assert (tree(made.path), projects.Project(made.path).id) == before


def test_the_database_of_an_older_balsam_is_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "balsamdb").mkdir()
    (tmp_path / "balsamdb" / "PG_VERSION").write_text("9.6")
    with pytest.raises(errors.ProjectExists, match="holds a database already"):
        new_project.create(tmp_path)
    assert tree(tmp_path) == ["balsamdb", "balsamdb/PG_VERSION"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("oracle", "Unknown database 'oracle'; use sqlite, postgres, or postgres://USER@HOST"),
        ("", "Unknown database ''"),
        ("mysql://me@there/db", "no address of a Postgres server"),
        ("postgres://me:secret@there/db", "password does not belong into the address"),
        ("postgres://me@there", "does not name one database"),
        ("postgres://me@there:port/db", "no address of a Postgres server"),
        ("postgres://me:sec/ret@there:1/db", "password does not belong|no address"),
        ("postgres://me@there/db?color=red", "'color' is no option"),
    ],
)
def test_other_databases(text: str, words: str) -> None:
    with pytest.raises(errors.InvalidValue, match=words) as caught:
        new_project.engine_of(text)
    assert "secret" not in str(caught.value) and "ret@" not in str(caught.value)


def test_a_server_of_somebody_else_is_written_into_the_settings(tmp_path: Path) -> None:
    engine = new_project.engine_of("postgres://me@there/db?sslmode=require", "/a 'file'")
    made = new_project.create(tmp_path, engine=engine)
    database = made.settings().database
    assert (database.engine, database.url) == ("postgres", engine.url)
    assert database.password_file == engine.password_file
    assert list(made.database_dir.iterdir()) == []
    with pytest.raises(errors.ProjectExists):
        new_project.create(tmp_path, engine=engine)


@pytest.mark.parametrize("name", ["", "  ", "two\nlines", "bell\a"])
def test_names_that_can_not_be_shown(tmp_path: Path, name: str) -> None:
    with pytest.raises(errors.InvalidValue):
        new_project.create(tmp_path / "new", name=name)
    assert tree(tmp_path) == []


def test_any_directory_name_gives_a_name(tmp_path: Path) -> None:
    assert new_project.create(tmp_path / "two\nlines").name == "two_lines"
    assert new_project.create(tmp_path / os.fsdecode(b"\xff")).name == "_"


@pytest.mark.parametrize(
    "path", ["file", "file/below", "dangling", "/proc/campaign", "a" * 300, "nul\0nul", "loop/x"]
)
def test_places_where_no_project_can_be_are_refused_in_words(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to("/proc/nowhere")
    (tmp_path / "loop").symlink_to("loop")
    before = tree(tmp_path)
    with pytest.raises(errors.ProjectError, match="No project can be made in") as caught:
        new_project.create(tmp_path / path)
    assert "\n" not in str(caught.value)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("there", "text", "words"),
    [
        ("settings.yml", "color: red", "unknown section 'color'"),
        ("settings.yml", "database: {engine: postgres}", "expected 'sqlite'"),
        ("log", "a file", "log is not a directory"),
        ("qsubmit", "a file", "qsubmit is not a directory"),
    ],
)
def test_what_fails_half_way_leaves_only_what_was_there(
    tmp_path: Path, there: str, text: str, words: str
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / there).write_text(text)
    with pytest.raises(errors.BalsamError, match=words):
        new_project.create(tmp_path)
    assert tree(tmp_path) == sorted(["data", there])
    assert (tmp_path / there).read_text() == text


def test_a_failure_after_the_files_removes_the_new_project(tmp_path: Path) -> None:
    class TablesFailed(Exception):
        pass

    def make_tables(path: Path) -> None:
        with new_project.creating(path) as made:
            for suffix in ("", "-wal", "-shm"):
                Path(f"{made.database_file}{suffix}").write_text("half of a database")
            raise TablesFailed

    with pytest.raises(TablesFailed):
        make_tables(tmp_path / "new" / "campaign")
    assert tree(tmp_path) == []


CREATE = """
import sys
from pathlib import Path
from balsam import errors
from balsam.conf import new_project
try:
    new_project.create(Path(sys.argv[1]))
except errors.ProjectExists:
    sys.exit(7)
"""


def test_of_several_at_once_one_makes_the_project(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    makers = [
        subprocess.Popen([sys.executable, "-c", CREATE, str(tmp_path / "it")], env=environment)
        for _ in range(3)
    ]
    assert sorted(maker.wait(timeout=60) for maker in makers) == [0, 7, 7]
    made = projects.find(tmp_path / "it", {})
    assert made.settings() == settings.Settings()
    assert made.id


def test_the_nearest_project_above_is_found(tmp_path: Path) -> None:
    outer, inner = mark(tmp_path / "outer"), mark(tmp_path / "outer" / "data" / "inner")
    (inner / "a" / "b").mkdir(parents=True)
    assert projects.find(inner / "a" / "b", {}).path == inner
    assert projects.find(inner, {}).path == inner
    assert projects.find(inner.parent, {}).path == outer


def test_the_current_directory_is_where_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(mark(tmp_path / "here"))
    assert projects.find(environ={}).path == tmp_path / "here"


def test_the_environment_goes_first(tmp_path: Path) -> None:
    one, two, three = (mark(tmp_path / name) for name in ("one", "two", "three"))
    both = {"BALSAM_DB_PATH": str(one), "BALSAM_SITE_PATH": str(two)}
    assert projects.find(three, both).path == one
    assert projects.find(three, {"BALSAM_SITE_PATH": str(two)}).path == two
    assert projects.find(three, {"BALSAM_DB_PATH": "", "BALSAM_SITE_PATH": str(two)}).path == two
    (tmp_path / "link").symlink_to(one)
    assert projects.find(three, {"BALSAM_DB_PATH": str(tmp_path / "link")}).path == one


@pytest.mark.parametrize("variable", ["BALSAM_DB_PATH", "BALSAM_SITE_PATH"])
def test_a_variable_that_names_no_project_is_an_error(tmp_path: Path, variable: str) -> None:
    mark(tmp_path)
    (tmp_path / "no project").mkdir()
    environ = {variable: str(tmp_path / "no project")}
    with pytest.raises(errors.ProjectNotFound) as caught:
        projects.find(tmp_path, environ)
    assert variable in str(caught.value)
    assert f"balsam init '{tmp_path}/no project'" in str(caught.value)


def test_no_project_is_an_error_that_names_the_command() -> None:
    with pytest.raises(errors.ProjectNotFound, match="balsam init PATH"):
        projects.find(Path("/"), {})


def test_a_current_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(errors.ProjectNotFound, match="no longer exists"):
        projects.find(environ={})


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"name": "x"}', "[" * 100_000])
def test_a_damaged_marker_is_an_error_in_words(tmp_path: Path, content: str) -> None:
    (tmp_path / projects.MARKER).write_text(content)
    found = projects.find(tmp_path, {})
    with pytest.raises(errors.ProjectError, match="can not be read"):
        _ = found.id
