"""Servers are made, started, stopped, found again and recovered, whatever happened to them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from balsam.conf.postgres import (
    address,
    cluster,
    life,
    locks,
    logfile,
    record,
    server,
    status,
    users,
)
from balsam.conf.postgres.life import Where
from balsam.conf.project import Project
from balsam.errors import ServerError, ServerStopped
from tests.machine.postgres.conftest import (
    PATIENCE_SECONDS,
    PYTHONPATH,
    Make,
    Other,
    ask,
    bare,
    finish,
    pid_of,
    programs_of_wheel,
    until,
)

pytestmark = pytest.mark.server

ENSURE = """
import sys
from pathlib import Path
from balsam.conf.postgres import server
from balsam.conf.project import Project
server.ensure(Project(Path(sys.argv[1])))
"""


def starter(project: Project) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", ENSURE, str(project.path)],
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def postmasters(project: Project) -> list[int]:
    """First processes of servers of these files: those whose parent is not one of them."""
    ours = [
        int(entry)
        for entry in os.listdir("/proc")
        if entry.isdigit() and life.is_ours(int(entry), project.cluster_dir)
    ]
    parents = {pid: parent(pid) for pid in ours}
    return [pid for pid, above in parents.items() if above is not None and above not in ours]


def parent(pid: int) -> int | None:
    """None for one that has ended since it was found."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


def refusal(project: Project, **words: object) -> str:
    with pytest.raises(ServerError) as caught:
        server.start(project, **words)  # type: ignore[arg-type]
    said = str(caught.value)
    assert "\n" not in said
    assert said.endswith(".")
    assert postmasters(project) == []
    assert not project.server_file.exists()
    return said


def put_something(project: Project) -> None:
    ask(project, "CREATE TABLE kept (number int)")
    ask(project, "INSERT INTO kept SELECT generate_series(1, 100)")


def kept(project: Project) -> int:
    return int(ask(project, "SELECT count(*) FROM kept")[0][0])


@pytest.mark.parametrize("folder", ["", *programs_of_wheel()], ids=str)
def test_a_whole_life(folder: str | Path, short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if folder:
        monkeypatch.setenv("POSTGRES_BIN", str(folder))
    project = bare(short_dir / "life")
    try:
        cluster.make(project)
        assert project.cluster_dir.stat().st_mode & 0o777 == 0o700
        assert project.password_file.stat().st_mode & 0o777 == 0o600
        assert sorted(os.listdir(project.database_dir)) == ["password", "postgres"]
        with pytest.raises(ServerStopped):
            address.parameters(project)
        assert not status.status(project).running
        told = server.start(project)
        assert server.start(project) == told
        found = status.status(project)
        assert (found.where, found.running, found.pid) == ("here", True, told.pid)
        assert (found.connections, found.problem, found.address) == (1, "", "")
        assert (found.size_bytes or 0) > 1_000_000
        settings = "synchronous_commit fsync data_checksums server_encoding listen_addresses"
        shown = [ask(project, f"SHOW {name}")[0][0] for name in settings.split()]
        assert shown == ["on", "on", "on", "UTF8", ""]
        assert ask(project, "SELECT datcollate FROM pg_database WHERE datname = 'balsam'") == [
            ("C",)
        ]
        put_something(project)
        again = server.restart(project)
        assert again.pid != told.pid
        assert kept(project) == 100
        assert server.stop(project)
        assert not server.stop(project)
        assert not locks.lives(project.database_dir)
        assert not list(project.database_dir.glob(".s.*"))
        assert not project.server_file.exists()
        cluster.remove(project)
        assert list(project.database_dir.iterdir()) == []
    finally:
        finish(project)


def test_the_server_stands_alone(project: Project) -> None:
    """No terminal, session, parent or variable of whoever started it."""
    done = subprocess.run(
        [sys.executable, "-c", ENSURE, str(project.path)],
        env={
            **os.environ,
            "PYTHONPATH": PYTHONPATH,
            "BALSAM_RUN": "x",
            "PGDATA": "/x",
            "PGPORT": "1",
        },
        check=False,
        capture_output=True,  # which ends only when nobody has the pipes open
        text=True,
        timeout=PATIENCE_SECONDS,
        start_new_session=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    pid = pid_of(project)
    assert os.getsid(pid) != os.getsid(0)
    environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    names = {one.partition(b"=")[0].decode() for one in environ}
    assert not {name for name in names if name.startswith(("BALSAM", "PG"))} - {"PGSYSCONFDIR"}
    opened = {os.readlink(f"/proc/{pid}/fd/{number}") for number in ("0", "1", "2")}
    assert opened == {"/dev/null", str(project.log / "postgres.log")}
    assert Path(f"/proc/{pid}/status").read_text().split("Uid:")[1].split()[0] == str(os.geteuid())


@pytest.mark.parametrize("number", [2, 8])
def test_starters_at_once_end_with_one_server(project: Project, number: int) -> None:
    starters = [starter(project) for _ in range(number)]
    said = [one.communicate(timeout=PATIENCE_SECONDS) for one in starters]
    assert [one.returncode for one in starters] == [0] * number, said
    assert len(postmasters(project)) == 1
    assert ask(project, "SELECT 1") == [(1,)]


def test_starters_and_stoppers_at_once(project: Project) -> None:
    starters = [starter(project) for _ in range(4)]
    for _ in range(3):
        server.stop(project)
    said = [one.communicate(timeout=PATIENCE_SECONDS) for one in starters]
    assert [one.returncode for one in starters] == [0] * 4, said
    server.ensure(project)
    assert len(postmasters(project)) == 1
    assert ask(project, "SELECT 1") == [(1,)]


def test_a_killed_server_is_recovered(project: Project) -> None:
    server.start(project)
    put_something(project)
    first = pid_of(project)
    os.kill(first, signal.SIGKILL)
    assert server.ensure(project)
    assert pid_of(project) != first
    assert kept(project) == 100


def test_all_of_a_server_killed_at_once(project: Project) -> None:
    server.start(project)
    put_something(project)
    life.kill_rest(project)
    assert server.ensure(project)
    assert kept(project) == 100


def test_what_a_busy_process_of_a_killed_server_does_is_not_done_twice(project: Project) -> None:
    """A second server beside a process of the first would ruin the files."""
    server.start(project)
    put_something(project)
    sleeper = subprocess.Popen(
        [sys.executable, "-c", BUSY, str(project.path)],
        env={**os.environ, "PYTHONPATH": PYTHONPATH}, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert sleeper.stdout
    backend = int(sleeper.stdout.readline())
    first = pid_of(project)
    os.kill(backend, signal.SIGSTOP)
    os.kill(first, signal.SIGKILL)
    until(lambda: not life.is_ours(first, project.cluster_dir), "the first process ends")
    assert server.look(project).where is Where.ENDING
    assert locks.lives(project.database_dir)
    os.kill(backend, signal.SIGCONT)
    assert server.ensure(project)
    assert not life.is_ours(backend, project.cluster_dir)
    assert len(postmasters(project)) == 1
    assert kept(project) == 100
    sleeper.kill()
    sleeper.communicate()


BUSY = """
import sys
from pathlib import Path
import psycopg
from balsam.conf.postgres import address
from balsam.conf.project import Project
connection = psycopg.connect(**address.parameters(Project(Path(sys.argv[1]))), autocommit=True)
print(connection.info.backend_pid, flush=True)
connection.execute("SELECT pg_sleep(600)")
"""


@pytest.mark.parametrize("whose", ["ours", "nobody's", "a zombie's", "text"])
def test_a_stale_pid_file(project: Project, whose: str) -> None:
    server.start(project)
    put_something(project)
    file = project.cluster_dir / "postmaster.pid"
    lines = file.read_text().splitlines()
    life.kill_rest(project)
    assert locks.until_gone(project.database_dir, PATIENCE_SECONDS)
    ended = subprocess.Popen(["true"])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    pid = {"ours": os.getpid(), "nobody's": 2**22 - 1, "a zombie's": ended.pid, "text": "x"}[whose]
    if whose == "text":
        file.unlink()
        for leftover in project.database_dir.glob(".s.*"):
            assert leftover.exists()
    else:
        file.write_text("\n".join([str(pid), *lines[1:]]) + "\n")
        for leftover in project.database_dir.glob(".s.*.lock"):
            leftover.write_text(file.read_text())
    server.ensure(project)
    assert kept(project) == 100
    ended.wait()


def test_a_starter_that_was_killed_before_it_wrote_the_address(project: Project) -> None:
    told = server.start(project)
    record.write(project, replace(told, pid=0))
    assert server.start(project) == told
    project.server_file.unlink()
    adopted = server.start(project)
    assert (adopted.pid, adopted.port, adopted.socket_dir) == (told.pid, told.port, "")
    assert ask(project, "SELECT 1") == [(1,)]
    assert server.stop(project)


def test_a_starter_that_was_killed_before_the_start(project: Project) -> None:
    told = server.start(project)
    server.stop(project)
    record.write(project, replace(told, pid=0))
    assert server.ensure(project)
    assert ask(project, "SELECT 1") == [(1,)]


def test_a_moved_project(make: Make, short_dir: Path) -> None:
    project = make()
    server.start(project)
    put_something(project)
    running = Project(project.path.rename(short_dir / "moved-running"))
    try:
        assert kept(running) == 100
        assert server.start(running).pid == pid_of(running)
        assert server.stop(running)
        stopped = Project(running.path.rename(project.path))
        server.ensure(stopped)
        assert kept(stopped) == 100
    finally:
        finish(running)


@pytest.mark.parametrize("name", ["d" * 150, 'it\'s "my" $HOME`x`\\w, %n!', "ä" * 60])
def test_paths_of_any_length_and_characters(make: Make, short_dir: Path, name: str) -> None:
    project = make(path=short_dir / name)
    told = server.start(project)
    assert bool(told.socket_dir) == (len(os.fsencode(str(project.path))) > 80 or "," in name)
    put_something(project)
    assert kept(project) == 100
    assert status.status(project).running
    server.stop(project)
    assert not told.socket_dir or not Path(told.socket_dir).exists()


def test_a_socket_that_was_removed(make: Make, short_dir: Path) -> None:
    project = make(path=short_dir / ("s" * 120))
    told = server.start(project)
    directory = Path(told.socket_dir)
    for one in directory.iterdir():
        one.unlink()
    directory.rmdir()
    with pytest.raises(ServerError, match="gone or not private to you; type 'balsam server rest"):
        address.parameters(project)
    server.restart(project)
    assert ask(project, "SELECT 1") == [(1,)]
    server.stop(project)
    assert not directory.exists()


def test_it_is_not_started_where_the_settings_forbid_it(make: Make) -> None:
    project = make("  auto_start: false\n")
    with pytest.raises(ServerStopped, match="start it with 'balsam server start'"):
        server.ensure(project)
    with pytest.raises(ServerStopped):
        server.parameters(project)
    server.start(project)
    assert server.ensure(project)


def test_who_can_not_wait_has_it_started_by_another_process(project: Project) -> None:
    with locks.only_one(project.database_dir, 1.0):  # so the start takes long
        for said in ("did not run, and is being started", "is being started"):
            with pytest.raises(ServerStopped, match=said):
                server.ensure(project, wait=False)

    def answers() -> bool:
        try:
            return server.ensure(project, wait=False)
        except ServerStopped:
            return False

    until(answers, "an answer")
    assert len(postmasters(project)) == 1


def test_who_can_not_wait_hears_why_it_did_not_start(make: Make) -> None:
    project = make()
    (project.cluster_dir / "PG_VERSION").write_text("99\n")

    def said() -> str:
        try:
            server.ensure(project, wait=False)
        except ServerStopped as error:
            return str(error)
        raise AssertionError("it was started")

    until(lambda: "99" in said(), "the reason")
    assert postmasters(project) == []


def test_nobody_starts_it_while_its_files_are_put_aside(project: Project) -> None:
    server.start(project)
    with server.stopped(project) as did_run:
        assert did_run
        with (
            pytest.raises(ServerError, match="has been starting or stopping"),
            locks.only_one(project.database_dir, 0.1),
        ):
            raise AssertionError("somebody else came between")
        assert server.look(project).where is Where.STOPPED


def test_a_log_that_has_grown_is_private_also_when_put_aside(project: Project) -> None:
    project.log.mkdir(exist_ok=True)
    log, older = logfile.path(project), project.log / "postgres.log.1"
    log.write_bytes(b"x" * (logfile.MOST_BYTES + 1))
    older.write_text("of an earlier time")
    older.chmod(0o644)
    logfile.trim(project)
    assert log.stat().st_size == 0 and older.stat().st_mode & 0o777 == 0o600
    assert set(older.read_bytes()) == {ord("x")}


def test_connecting_starts_it(project: Project) -> None:
    assert server.parameters(project)["user"] == "balsam"
    assert server.connect(project) is False
    server.stop(project)
    assert server.connect(project) is True


def test_reset_ends_a_server_that_does_not_end_and_repairs_the_address(project: Project) -> None:
    server.start(project)
    put_something(project)
    project.server_file.write_text("{")
    with pytest.raises(ServerError, match="balsam server reset"):
        server.start(project)
    assert server.reset(project).pid
    assert kept(project) == 100


# -- as root ------------------------------------------------------------------------------------


def uid_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


@pytest.mark.parametrize("hidden", [False, True], ids=["", "and processes are hidden"])
def test_root_where_user_namespaces_are_refused(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, hidden: bool
) -> None:
    """``hidden``: as in a container whose root may not look into processes of other users."""
    if hidden:
        monkeypatch.setattr(life.os.path, "samefile", not_permitted)
    if os.geteuid() != 0:
        pytest.skip("root may run a server in the name of others")
    for name in ("setpriv", "test", "postgres", "openssl"):
        if found := shutil.which(name):
            (tmp_path / name).symlink_to(os.path.realpath(found))
    (tmp_path / "unshare").write_text("#!/bin/sh\necho 'unshare failed' >&2\nexit 1\n")
    (tmp_path / "unshare").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    project = bare(short_dir / "stand-in")
    try:
        cluster.make(project)
        server.start(project, "127.0.0.1")
        put_something(project)
        owner = project.database_dir.stat().st_uid
        assert owner != 0
        assert uid_of(pid_of(project)) == owner
        os.kill(pid_of(project), signal.SIGKILL)
        server.ensure(project)
        assert kept(project) == 100
        assert server.stop(project)
    finally:
        finish(project)


def not_permitted(first: str, second: object) -> bool:
    raise PermissionError(first)


def test_root_in_the_project_of_another_user(make: Make, other: Other) -> None:
    """Nothing is left behind that the user could not use himself."""
    project = make()
    owner = other.account.pw_uid
    for directory, _, names in os.walk(project.path):
        for path in (directory, *(os.path.join(directory, name) for name in names)):
            os.chown(path, owner, other.account.pw_gid)
    server.start(project, "127.0.0.1")
    assert uid_of(pid_of(project)) == owner
    made = [path for path in project.path.rglob("*") if not path.is_relative_to("postgres")]
    assert {path.name for path in made if path.stat().st_uid != owner} == set()
    server.stop(project)
    program, path = other.python()
    done = other.run(program, "-c", ENSURE, str(project.path), PYTHONPATH=path)
    assert (done.returncode, done.stderr) == (0, "")
    assert uid_of(pid_of(project)) == owner
    assert ask(project, "SELECT 1") == [(1,)]
    assert server.stop(project)


# -- refused, with nothing half made ------------------------------------------------------------


def test_a_taken_port(project: Project) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = refusal(project, listen="127.0.0.1", port=port)
        assert said.startswith(f"The port {port} is taken by another program")
        told = server.start(project, listen="127.0.0.1")
        assert told.port != port


def test_an_address_of_another_machine(project: Project) -> None:
    assert "which is not this machine" in refusal(project, listen="192.0.2.77")


def test_files_of_another_version(project: Project) -> None:
    (project.cluster_dir / "PG_VERSION").write_text("12\n")
    assert "was made by Postgres 12, and no other can read its files" in refusal(project)


def test_files_that_balsam_did_not_make(project: Project) -> None:
    (project.cluster_dir / "balsam.conf").unlink()
    assert "is a Postgres data directory that Balsam did not make" in refusal(project)


def test_files_that_are_gone(project: Project) -> None:
    (project.cluster_dir / "PG_VERSION").unlink()
    assert "has no Postgres files" in refusal(project)


def test_files_that_are_broken(project: Project) -> None:
    (project.cluster_dir / "global" / "pg_control").write_bytes(b"x" * 100)
    said = refusal(project)
    assert "did not start: " in said
    assert "pg_control" in said
    assert said.endswith(f"its log is {project.log / 'postgres.log'}.")


def test_a_setting_that_postgres_refuses(project: Project) -> None:
    with (project.cluster_dir / "postgresql.conf").open("a") as stream:
        stream.write("no_such_setting = 1\n")
    assert "did not start: " in refusal(project)


def test_a_path_with_a_line_break(short_dir: Path) -> None:
    project = bare(short_dir / "one\ntwo")
    with pytest.raises(ServerError, match="holds a line break, which Postgres does not take"):
        cluster.make(project)
    assert not project.cluster_dir.exists() and not project.password_file.exists()


def test_new_files_where_there_are_some(project: Project, short_dir: Path) -> None:
    with pytest.raises(ServerError, match="is there already; move it away"):
        cluster.make(project)
    assert server.start(project)


def test_nothing_is_left_of_files_that_could_not_be_made(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "bin"
    broken.mkdir()
    for name in ("initdb", "postgres"):
        said = "postgres (PostgreSQL) 15.1" if name == "postgres" else ""
        (broken / name).write_text(
            f"#!/bin/sh\n[ \"$1\" = --version ] && echo '{said}' && exit 0\n"
            "echo 'initdb: error: could not write: No space left on device' >&2\nexit 1\n"
        )
        (broken / name).chmod(0o755)
    for path in (tmp_path, *list(tmp_path.parents)[:2]):
        path.chmod(0o755)
    monkeypatch.setenv("POSTGRES_BIN", str(broken))
    project = bare(short_dir / "broken")
    with pytest.raises(ServerError, match="could not write: No space left on device; mend that"):
        cluster.make(project)
    assert list(project.database_dir.iterdir()) == []


def test_the_password_of_another_server(project: Project) -> None:
    server.start(project)
    project.password_file.write_text("wrong\n")
    with pytest.raises(ServerError, match="refused .*password authentication failed.*: the passw"):
        users.users(project)
    project.password_file.chmod(0o640)
    with pytest.raises(ServerError, match=r"Others may read the password .*0640.*chmod 600"):
        address.parameters(project)
    project.password_file.unlink()
    with pytest.raises(ServerError, match="password of the database can not be read"):
        address.parameters(project)
