"""Settings change in their lines; whatever else is in the file stays as it was written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from balsam.conf import settings_edit, templates
from balsam.conf.settings import parse
from balsam.errors import SettingsError

VALUES = {"engine": "postgres", "url": "postgres://me@[::1]:5/d?host=/x y", "journal_mode": "wal"}


def edited(text: str) -> str:
    return settings_edit.changed(text, "settings.yml", "database", VALUES)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        "launcher:\n  cores_per_node: 4",
        "database:\n",
        "database:\n# all defaults\nlauncher:\n  cores_per_node: 4\n",
        "database: {}\n",
        "database: {journal_mode: delete}\n",
        "database: {journal_mode: delete, # why\n  busy_timeout_seconds: 3}\njobs: {}\n",
        "database:\n  engine: sqlite",
        "database:\r\n  engine: sqlite\r\nlauncher:\r\n  cores_per_node: 4\r\n",
        "database:\n    journal_mode:   delete   # shared\n    # url: x\n    engine: 'sqlite'\n",
        'database:\n  url: ""\n  password_file:\n    "a b"\n  engine:\n    sqlite\n',
    ],
)
def test_only_these_settings_change(text: str) -> None:
    before, after = parse(text, ""), parse(edited(text), "")
    assert {name: getattr(after.database, name) for name in VALUES} == VALUES
    assert after.launcher == before.launcher and after.jobs == before.jobs
    assert after.database.password_file == before.database.password_file
    assert [line for line in text.split("\n") if line.lstrip().startswith("#")] == [
        line for line in edited(text).split("\n") if line.lstrip().startswith("#")
    ]


def test_a_new_project_keeps_its_comments() -> None:
    given = {"engine": "sqlite", "journal_mode": "delete", "url": "", "password_file": ""}
    text = templates.render(templates.text("settings.yml"), given, name="settings.yml")
    lines, after = text.splitlines(), edited(text).splitlines()
    assert [line for line in after if line not in lines] == [
        "  engine: postgres",
        '  url: "postgres://me@[::1]:5/d?host=/x y"',
        "  journal_mode: wal",
    ]
    assert len(after) == len(lines) + 1


def test_it_can_be_changed_back() -> None:
    values = {"engine": "sqlite", "url": "", "journal_mode": "delete"}
    text = 'database:\n  engine: sqlite  # ours\n  url: ""\n  journal_mode: delete\n'
    assert settings_edit.changed(edited(text), "", "database", values) == text


@pytest.mark.parametrize(
    "text",
    [
        "x: &a\n  engine: sqlite\ndatabase: *a\n",
        "database: &a\n  engine: &b sqlite\n  journal_mode: wal\n  url: *b\n",
    ],
)
def test_what_can_not_be_changed_is_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        edited(text)


def test_the_file_is_replaced_whole_and_keeps_its_mode(tmp_path: Path) -> None:
    file, link = tmp_path / "real.yml", tmp_path / "settings.yml"
    file.write_text("old")
    file.chmod(0o640)
    link.symlink_to(file)
    settings_edit.replace(link, "new\r\n")
    assert file.read_bytes() == b"new\r\n" and link.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert sorted(os.listdir(tmp_path)) == ["real.yml", "settings.yml"]
