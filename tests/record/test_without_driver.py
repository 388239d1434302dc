"""A project on SQLite where the package that speaks to Postgres is not installed."""

from __future__ import annotations

import sys

import pytest

from balsam.conf.new_project import engine_of
from balsam.conf.project import Project
from balsam.core.care.move import move
from balsam.errors import ServerError


@pytest.mark.sqlite
@pytest.mark.parametrize("where", ["postgres", "postgres://me@db.example.org/campaign"])
def test_a_move_to_postgres_says_what_to_install(
    project: Project, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ServerError, match=r"needs the Python package psycopg; run \"pip install"):
        move(project, engine_of(where))
    assert project.settings().database.engine == "sqlite"
    assert list(project.database_dir.iterdir()) == [project.database_file]
