"""The registry of projects in HOME."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from balsam.conf import project as projects
from balsam.conf import registry


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    monkeypatch.setenv("HOME", str(path))
    return path


def make(path: Path, name: str) -> projects.Project:
    path.mkdir(parents=True)
    (path / projects.MARKER).write_text(f'{{"id": "{name}", "name": "{name}"}}')
    return projects.Project(path)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_projects_are_recorded_privately(home: Path, tmp_path: Path) -> None:
    assert registry.projects() == {}
    one, two = make(tmp_path / "a" / "x", "x"), make(tmp_path / "b" / "x", "x")
    registry.add(one)
    registry.add(two)
    registry.add(one)
    assert registry.projects() == {"x": [two.path, one.path]}
    registry.remove(one.path)
    registry.remove(tmp_path / "never there")
    assert registry.projects() == {"x": [two.path]}
    assert mode(home / ".balsam") == 0o700
    assert mode(home / ".balsam" / "projects.json") == 0o600
    assert sorted(os.listdir(home)) == [".balsam"]
    assert sorted(os.listdir(home / ".balsam")) == ["projects.json", "projects.lock"]


def test_a_project_made_anew_under_another_name_has_one_entry(home: Path, tmp_path: Path) -> None:
    project = make(tmp_path / "x", "old")
    registry.add(project)
    (project.path / projects.MARKER).write_text('{"id": "1", "name": "new"}')
    registry.add(projects.Project(project.path))
    assert registry.projects() == {"new": [project.path]}


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"x": 1}', b'{"x": [1]}', b"\xff", b"null"]
)
def test_a_corrupt_registry_is_put_aside(home: Path, tmp_path: Path, content: bytes) -> None:
    file = home / ".balsam" / "projects.json"
    file.parent.mkdir()
    file.write_bytes(content)
    assert registry.projects() == {}
    project = make(tmp_path / "x", "x")
    registry.add(project)
    assert registry.projects() == {"x": [project.path]}
    assert (file.parent / "projects.json.unreadable").read_bytes() == content


def test_a_home_that_can_not_be_written_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    project = make(tmp_path / "x", "x")
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "missing", tmp_path / "file", Path("/proc"), Path("relative")):
        monkeypatch.setenv("HOME", str(place))
        caplog.clear()
        registry.add(project)
        assert "was not updated" in caplog.text
        assert registry.projects() == {}


def test_a_project_without_a_readable_marker_stops_nothing(home: Path, tmp_path: Path) -> None:
    registry.add(projects.Project(tmp_path))
    assert registry.projects() == {}


def test_a_writer_that_hangs_is_not_waited_for_forever(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(registry, "LOCK_SECONDS", 0.05)
    (home / ".balsam").mkdir()
    with (home / ".balsam" / "projects.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        registry.add(make(tmp_path / "x", "x"))
    assert "stays locked" in caplog.text
    assert registry.projects() == {}


ADD_MANY = """
import sys
from pathlib import Path
from balsam.conf import registry
from balsam.conf.project import Project
for path in sys.argv[1:]:
    registry.add(Project(Path(path)))
"""


def test_two_writers_at_once_lose_nothing(home: Path, tmp_path: Path) -> None:
    groups = [[make(tmp_path / f"{g}-{n}", f"{g}-{n}").path for n in range(10)] for g in "ab"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    writers = [
        subprocess.Popen([sys.executable, "-c", ADD_MANY, *map(str, group)], env=environment)
        for group in groups
    ]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    assert sorted(registry.projects()) == sorted(path.name for group in groups for path in group)
