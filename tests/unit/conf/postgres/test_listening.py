"""Choosing addresses, ports and a place for the socket."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from balsam.conf.postgres import listening
from balsam.conf.project import MARKER, Project
from balsam.errors import InvalidValue, ServerError


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / MARKER).write_text('{"id": "0123456789abcdef0123456789abcdef", "name": "x"}')
    (tmp_path / "balsamdb").mkdir(mode=0o700)
    return Project(tmp_path)


def test_networks_of_compute_nodes_come_first() -> None:
    interfaces = [
        ("lo", "127.0.0.1"),
        ("docker0", "172.17.0.1"),
        ("eth0", "141.2.3.4"),
        ("eth1", "10.0.0.7"),
        ("hsn0", "10.150.0.7"),
        ("eth2", "169.254.1.1"),
        ("ib0", "11.1.1.1"),
    ]
    assert listening.ranking(interfaces) == ["10.150.0.7", "11.1.1.1", "10.0.0.7", "141.2.3.4"]
    assert listening.ranking([("lo", "127.0.0.1")]) == []


def test_nowhere_unless_asked() -> None:
    assert listening.choose("") == listening.Listening("", "")


def test_a_name_of_this_machine() -> None:
    assert listening.choose("localhost") == listening.Listening("127.0.0.1", "127.0.0.1")


@pytest.mark.parametrize("host", ["192.0.2.77", "no-such-host.invalid", "a b", "-"])
def test_what_is_not_this_machine_is_refused(host: str) -> None:
    with pytest.raises(ServerError, match=r"can not listen at .*'auto'\.$"):
        listening.choose(host)


def test_the_usual_port_stays_the_same_unless_it_is_taken(project: Project) -> None:
    assert listening.choose_port("", 0, project) == listening.SOCKET_PORT
    usual = listening.choose_port("127.0.0.1", 0, project)
    assert usual == listening.choose_port("127.0.0.1", 0, project)
    with socket.socket() as other:
        other.bind(("127.0.0.1", usual))
        other.listen()
        port = listening.choose_port("127.0.0.1", 0, project)
        assert port != usual
        assert 20000 <= port < 32000
        with pytest.raises(ServerError, match=f"The port {usual} is taken"):
            listening.choose_port("127.0.0.1", usual, project)


@pytest.mark.parametrize("port", [-1, 80, 70000])
def test_ports_that_are_none(project: Project, port: int) -> None:
    with pytest.raises(InvalidValue, match="not from 1024 to 65535"):
        listening.choose_port("127.0.0.1", port, project)


def test_a_short_path_takes_the_socket(project: Project) -> None:
    assert listening.fits(Path("/x" * 40), 5432)
    assert not listening.fits(Path("/x" * 60), 5432)
    assert not listening.fits(Path("/a,b"), 5432)


def test_a_long_path_has_its_socket_elsewhere_in_private(project: Project, tmp_path: Path) -> None:
    long = tmp_path / ("d" * 120)
    (long / "balsamdb").mkdir(parents=True, mode=0o700)
    (long / MARKER).write_text((tmp_path / MARKER).read_text())
    found = Path(listening.socket_dir(Project(long), 5432))
    try:
        assert found.parent == Path("/tmp")
        assert listening.is_private(found, os.geteuid())
        assert listening.socket_dir(Project(long), 5432) == str(found)
        found.chmod(0o755)
        with pytest.raises(ServerError, match="has no place for its socket.*open to others"):
            listening.socket_dir(Project(long), 5432)
        found.rmdir()
        found.symlink_to(tmp_path)
        with pytest.raises(ServerError, match="has no place for its socket"):
            listening.socket_dir(Project(long), 5432)
        found.unlink()
    finally:
        if found.is_dir():
            found.rmdir()


def test_a_directory_of_somebody_else_is_not_private(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    assert listening.is_private(tmp_path, os.geteuid())
    assert not listening.is_private(tmp_path, os.geteuid() + 1)
    assert not listening.is_private(tmp_path / "nope", os.geteuid())
