"""The file that says where a server is."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from balsam.conf.postgres import life, record
from balsam.conf.postgres.record import Published, Record
from balsam.conf.project import Project
from balsam.errors import ServerError
from balsam.platform import node


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "balsamdb").mkdir(mode=0o700)
    return Project(tmp_path)


def test_written_and_read_privately(project: Project) -> None:
    assert record.read(project) is None
    told = Record("boot:1", "login1", 5432, pid=17, since="now")
    record.write(project, told)
    assert record.read(project) == told
    assert stat.S_IMODE(project.server_file.stat().st_mode) == 0o600
    assert told.socket(project) == project.database_dir
    assert Record("m", "h", 1, socket_dir="/tmp/x").socket(project) == Path("/tmp/x")


def test_a_record_of_a_newer_balsam_is_read(project: Project) -> None:
    project.server_file.write_text('{"machine": "m", "host": "h", "port": 1, "colour": "red"}')
    assert record.read(project) == Record("m", "h", 1)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"machine": 1}', "\\u0000"])
def test_garbage_is_one_sentence(project: Project, text: str) -> None:
    project.server_file.write_text(text)
    with pytest.raises(ServerError, match=r"type 'balsam server reset'\.$"):
        record.read(project)


def test_what_is_published_holds_no_secret_and_goes_with_the_server(project: Project) -> None:
    certificate = project.path / "crt"
    certificate.write_text("certificate")
    content = Published("10.0.0.1", 20001, "balsam", True)
    record.publish(project, content, certificate)
    assert record.published(project) == content
    assert record.certificate_file(project).read_text() == "certificate"
    assert stat.S_IMODE(record.public_file(project).stat().st_mode) == 0o644
    record.publish(project, content, None)
    assert not record.certificate_file(project).exists()
    record.clear(project)
    assert record.published(project) is None
    record.clear(project)


def test_when_a_server_without_a_lock_is_dead() -> None:
    boot = node.identity().partition(":")[0]
    other = Record("another-boot:1", "no-such-host", 1)
    assert life.told_gone(Record(f"{boot}:another-container", "x", 1), shared=True)
    assert life.told_gone(other, shared=False)
    assert not life.told_gone(other, shared=True)
    rebooted = Record("another-boot:1", node.this_node().hostname, 1)
    assert life.told_gone(rebooted, shared=True)


@pytest.mark.parametrize("text", ["", "x", "\n\n", "12\nonly"])
def test_a_postmaster_file_of_any_kind_is_read(project: Project, text: str) -> None:
    project.cluster_dir.mkdir()
    (project.cluster_dir / "postmaster.pid").write_text(text)
    found = life.read_postmaster(project)
    assert found is None or found == life.Postmaster(12, 0, "", "", False)
