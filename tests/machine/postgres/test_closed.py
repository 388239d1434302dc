"""A server is closed: whoever has no password gets nothing, wherever and however he tries."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from balsam.conf.postgres import address, cluster, record, server, users
from balsam.conf.project import Project
from balsam.errors import InvalidValue, ServerError
from tests.machine.postgres.conftest import Make, Other, ask, pid_of, programs_of_wheel

pytestmark = pytest.mark.server

ROLES = ("balsam", "postgres", "root", "nobody", "jane", "pg_read_all_data", "", "Balsam")
DATABASES = ("balsam", "postgres", "template1", "template0", "replication", "")
SSL_REQUEST, GSS_REQUEST, CANCEL_REQUEST, PROTOCOL = 80877103, 80877104, 80877102, 196608
#: The one thing that the server may ask for (protocol-message-formats: AuthenticationSASL).
SASL = 10


def listening_ports(project: Project) -> list[str]:
    """The TCP addresses at which the server listens, by what the system says."""
    first = psutil.Process(pid_of(project))
    found = set()
    for process in (first, *first.children()):
        with contextlib.suppress(psutil.NoSuchProcess):
            listening = process.net_connections("inet")
            found |= {one.laddr for one in listening if one.status == psutil.CONN_LISTEN}
    return sorted(f"{place.ip}:{place.port}" for place in found)


@pytest.fixture(params=["tls", "plain"])
def listener(request: pytest.FixtureRequest, make: Make) -> Iterator[tuple[Project, record.Record]]:
    """A project whose server listens, with and without TLS; it has a user besides its owner."""
    project = make()
    before = os.environ["PATH"]
    if request.param == "plain":
        tools = project.path / "tools"
        tools.mkdir()
        # No openssl among them.
        for name in ("unshare", "setpriv", "test", "postgres"):
            if found := shutil.which(name):
                (tools / name).symlink_to(os.path.realpath(found))
        os.environ["PATH"] = str(tools)
    try:
        told = server.start(project, "127.0.0.1")
    finally:
        os.environ["PATH"] = before
    users.add(project, "jane")
    assert told.tls == (request.param == "tls")
    yield project, told


def test_without_listen_nothing_listens(project: Project) -> None:
    server.start(project)
    assert listening_ports(project) == []
    hba = (project.cluster_dir / "pg_hba.conf").read_text().splitlines()[1:]
    assert hba == ["local all all scram-sha-256"]


def test_it_listens_where_it_was_told_only(listener: tuple[Project, record.Record]) -> None:
    project, told = listener
    assert listening_ports(project) == [f"127.0.0.1:{told.port}"]
    hba = (project.cluster_dir / "pg_hba.conf").read_text()
    assert "trust" not in hba
    with pytest.raises(ServerError, match="runs already, and listens at 127.0.0.1"):
        server.start(project, "")
    server.restart(project, "")
    assert listening_ports(project) == []
    assert not record.public_file(project).exists()


def test_a_scan_finds_nothing(listener: tuple[Project, record.Record]) -> None:
    """Every role and database one may guess, by socket and TCP, with no and wrong passwords."""
    import psycopg

    project, told = listener
    verifier = ask(project, "SELECT rolpassword FROM pg_authid WHERE rolname = 'balsam'")[0][0]
    assert verifier.startswith("SCRAM-SHA-256$")
    passwords = ("", "balsam", "postgres", "x" * 43, verifier)
    places = [
        {"host": str(project.database_dir), "sslmode": "disable"},
        {"host": told.address, "sslmode": "disable"},
        {"host": told.address, "sslmode": "require"},
    ]
    tried = 0
    for place, role, database in itertools.product(places, ROLES, DATABASES):
        for password in passwords if role in ("balsam", "jane") else passwords[:2]:
            words: dict[str, Any] = {"port": told.port, "passfile": "/nonexistent", **place}
            words |= {"user": role or "root", "password": password}
            replication = {"replication": "true"} if database == "replication" else {}
            words |= {"dbname": database or "balsam", **replication}
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(**words, connect_timeout=10).close()
            tried += 1
    assert tried > 300
    assert ask(project, "SELECT 1") == [(1,)]


@pytest.mark.parametrize("role", ["balsam", "jane", "nobody"])
def test_before_the_password_the_server_says_nothing(
    listener: tuple[Project, record.Record], role: str
) -> None:
    """By its own protocol: it asks for SCRAM or refuses; no version, no setting, no prompt."""
    _, told = listener
    with socket.create_connection((told.address, told.port), timeout=10) as line:
        line.sendall(startup({"user": role, "database": "balsam"}))
        kind, content = answer(line)
        if told.tls:
            assert kind == b"E"
            return
        assert (kind, struct.unpack("!I", content[:4])[0]) == (b"R", SASL)
        line.sendall(b"Q" + struct.pack("!I", 13) + b"SELECT 1\0")
        kind, _ = answer(line)
        assert kind == b"E"
        assert line.recv(1000) == b""


def test_other_requests_before_the_password(listener: tuple[Project, record.Record]) -> None:
    _, told = listener
    where = (told.address, told.port)
    for request, answers in ((SSL_REQUEST, b"S" if told.tls else b"N"), (GSS_REQUEST, b"GN")):
        with socket.create_connection(where, timeout=10) as line:
            line.sendall(struct.pack("!II", 8, request))
            assert line.recv(1) in answers
    for junk in (
        struct.pack("!IIII", 16, CANCEL_REQUEST, 1, 1),
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0" * 100,
        struct.pack("!I", 2**31 - 1) + b"x" * 1000,
    ):
        with socket.create_connection(where, timeout=10) as line:
            line.sendall(junk)
            line.shutdown(socket.SHUT_WR)
            said = b"".join(iter(lambda: line.recv(4096), b""))
            assert not said or said[:1] == b"E"


def startup(words: dict[str, str]) -> bytes:
    text = b"".join(f"{name}\0{value}\0".encode() for name, value in words.items()) + b"\0"
    return struct.pack("!II", 8 + len(text), PROTOCOL) + text


def answer(line: socket.socket) -> tuple[bytes, bytes]:
    head = line.recv(5, socket.MSG_WAITALL)
    (length,) = struct.unpack("!I", head[1:])
    return head[:1], line.recv(length - 4, socket.MSG_WAITALL)


def test_another_user_of_this_machine_gets_nothing(
    make: Make, short_dir: Path, other: Other
) -> None:
    for project in (make(), make(path=short_dir / ("o" * 120))):
        told = server.start(project)
        place = told.socket(project)
        for words in (
            ("ls", str(project.database_dir)),
            ("cat", str(project.password_file)),
            ("cat", str(project.server_file)),
            ("cat", str(project.log / "postgres.log")),
            ("ls", str(place)),
        ):
            done = other.run(*words)
            assert (done.returncode != 0, done.stdout) == (True, ""), words
            assert "Permission denied" in done.stderr
        psql = shutil.which("psql")
        if psql is not None:
            done = other.run(psql, "-h", str(place), "-U", "balsam", "-w", "-c", "SELECT 1")
            assert done.returncode == 2
            assert "Permission denied" in done.stderr
        server.stop(project)


def test_another_user_may_not_start_or_stop_it(project: Project, other: Other) -> None:
    server.start(project)
    program, path = other.python()
    code = (
        "import sys; from pathlib import Path; from balsam.conf.project import Project;"
        "from balsam.conf.postgres import server; getattr(server, sys.argv[1])("
        "Project(Path(sys.argv[2])))"
    )
    done = other.run(program, "-c", code, "ensure", str(project.path), PYTHONPATH=path)
    assert (done.returncode, done.stderr) == (0, "")
    for act in ("start", "stop", "connect", "reset"):
        done = other.run(program, "-c", code, act, str(project.path), PYTHONPATH=path)
        assert "ServerError: The" in done.stderr, done.stderr
        assert "somebody else's" in done.stderr or "belongs to root" in done.stderr
    assert ask(project, "SELECT 1") == [(1,)]


def test_no_secret_is_where_others_look(project: Project) -> None:
    import psycopg

    server.start(project, "127.0.0.1")
    password = users.add(project, "jane")
    secrets = {password, project.password_file.read_text().strip()}
    for statement in ("SELECT 'job arguments', 1/0", "SELECT * FROM no_table WHERE x = 'jobs'"):
        with pytest.raises(psycopg.Error):
            ask(project, statement)
    seen = Path(f"/proc/{pid_of(project)}/cmdline").read_text()
    seen += Path(f"/proc/{pid_of(project)}/environ").read_text()
    seen += (project.log / "postgres.log").read_text()
    seen += record.public_file(project).read_text() + project.server_file.read_text()
    assert not any(secret in seen for secret in secrets)
    assert "job" not in (project.log / "postgres.log").read_text()
    assert repr(users.users(project)).find(password) == -1


def test_users_read_and_write_and_nothing_else(project: Project) -> None:
    import psycopg

    server.start(project)
    ask(project, "CREATE TABLE balsam_job (id serial, name text)")
    password = users.add(project, "jane")
    ask(project, "CREATE TABLE later (id serial, name text)")

    def as_jane(statement: str) -> list[Any]:
        return ask(project, statement, user="jane", password=password)

    for table in ("balsam_job", "later"):
        as_jane(f"INSERT INTO {table} (name) VALUES ('x')")
        assert as_jane(f"SELECT name FROM {table}") == [("x",)]
        as_jane(f"UPDATE {table} SET name = 'y'")
        as_jane(f"DELETE FROM {table}")
    for statement in (
        "DROP TABLE balsam_job",
        "CREATE TABLE mine (id int)",
        "CREATE ROLE joe",
        "SELECT rolpassword FROM pg_authid",
        "SELECT pg_read_file('pg_hba.conf')",
        "COPY balsam_job TO PROGRAM 'cat'",
        "ALTER ROLE balsam PASSWORD 'x'",
    ):
        with pytest.raises(psycopg.Error, match=r"permission denied|must be (owner|superuser)"):
            as_jane(statement)
    for database in ("postgres", "template1"):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            ask(project, "SELECT 1", user="jane", password=password, dbname=database)
    assert [(one.name, one.owner) for one in users.users(project)] == [
        ("balsam", True),
        ("jane", False),
    ]
    with pytest.raises(ServerError, match="There is a user 'jane' already"):
        users.add(project, "jane")
    held = psycopg.connect(
        **{**address.parameters(project), "user": "jane", "password": password}, autocommit=True
    )
    assert [one.user for one in users.connections(project)] == ["jane"]
    users.drop(project, "jane")
    with pytest.raises(psycopg.OperationalError):
        held.execute("SELECT 1")
    held.close()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        as_jane("SELECT 1")
    with pytest.raises(ServerError, match=r"There is no user 'jane'; the users are balsam\."):
        users.drop(project, "jane")
    with pytest.raises(ServerError, match="There is no user 'pg_monitor'"):
        users.drop(project, "pg_monitor")  # a role of the server's own
    with pytest.raises(ServerError, match="is the owner"):
        users.drop(project, cluster.OWNER)


@pytest.mark.parametrize("name", ["", "pg_x", "a b", "x'; DROP", "-x", "ä", "x" * 64])
def test_names_that_can_not_be_users(project: Project, name: str) -> None:
    with pytest.raises(InvalidValue, match="can not be the name of a user"):
        users.add(project, name)


# -- TLS ----------------------------------------------------------------------------------------


@pytest.fixture
def far_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """This process from now on believes to be on another machine."""
    from balsam.platform import node

    boot = tmp_path / "boot_id"
    boot.write_text("another-boot\n")
    monkeypatch.setattr(node, "_BOOT_ID", boot)


def test_from_another_machine_it_is_reached_by_tls(
    project: Project, request: pytest.FixtureRequest
) -> None:
    import psycopg

    told = server.start(project, "127.0.0.1")
    here = address.parameters(project)
    assert here["host"] == str(project.database_dir)
    request.getfixturevalue("far_away")
    there = address.parameters(project)
    assert (there["host"], there["port"], there["sslmode"]) == (
        "127.0.0.1",
        told.port,
        "verify-ca",
    )
    mine = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    assert ask(project, mine) == [(True,)]
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        ask(project, mine, sslmode="disable")
    key = project.cluster_dir / "server.key"
    assert key.stat().st_mode & 0o777 == 0o600


def test_another_server_in_its_place_is_noticed(make: Make, request: pytest.FixtureRequest) -> None:
    project, impostor = make(), make()
    told = server.start(project, "127.0.0.1")
    server.stop(project)
    server.start(impostor, "127.0.0.1", port=told.port)
    record.write(project, told)
    request.getfixturevalue("far_away")
    with (
        pytest.raises(ServerError, match="certificate verify failed.*it is another server"),
        users.connected(project),
    ):
        pass


def test_the_certificate_stays_and_the_port_too(project: Project) -> None:
    first = server.start(project, "127.0.0.1")
    certificate = (project.cluster_dir / "server.crt").read_text()
    second = server.restart(project, "127.0.0.1")
    assert (first.port, first.tls) == (second.port, second.tls)
    assert (project.cluster_dir / "server.crt").read_text() == certificate
    assert record.certificate_file(project).read_text() == certificate


def test_binaries_without_tls_say_so(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch, make: Make
) -> None:
    from tests.machine.postgres.conftest import bare, finish

    folders = programs_of_wheel()
    if not folders:
        pytest.skip("the wheel with Postgres is not installed")
    monkeypatch.setenv("POSTGRES_BIN", str(folders[0]))
    project = bare(short_dir / "no-tls")
    try:
        cluster.make(project)
        told = server.start(project, "127.0.0.1")
        assert (told.tls, told.tls_note) == (
            False,
            f"the Postgres in {folders[0]} is built without it",
        )
        assert record.published(project) == record.Published(
            "127.0.0.1", told.port, "balsam", False
        )
    finally:
        finish(project)
