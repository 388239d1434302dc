"""``balsam server`` and ``dbserver``, activation, and a project that is shared."""

from __future__ import annotations

import json
import os
import pwd
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.conf.postgres import life, server
from balsam.conf.project import Project
from tests.tools import prepared

pytestmark = pytest.mark.server

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 120.0
PYTHONPATH = ":".join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))


class Screen:
    """Commands typed in a directory that other users may look into."""

    def __init__(self, home: Path) -> None:
        self.home = self.cwd = home
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("BALSAM", "PG"))}
        self.env |= {"HOME": str(home), "PYTHONPATH": PYTHONPATH}

    def run(self, line: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return prepared.run_text(
            shlex.split(line), cwd=self.cwd, env={**self.env, **environ}, timeout=PATIENCE_SECONDS
        )

    def balsam(self, line: str, code: int = 0) -> str:
        """What a command prints, which has to end with ``code``."""
        done = self.run(line)
        assert done.returncode == code, f"{line}: {done.returncode} {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def refused(self, line: str, code: int = 1, **environ: str) -> str:
        """The one sentence with which a command is refused."""
        done = self.run(line, **environ)
        assert (done.returncode, done.stdout) == (code, ""), done.stdout + done.stderr
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr


def finish(path: Path) -> None:
    project = Project(path)
    if project.cluster_dir.is_dir():
        life.kill_rest(project)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Screen]:
    """A project on Postgres, as ``balsam init`` makes it, with one job."""
    home = Path(tempfile.mkdtemp(prefix="bs-", dir="/tmp"))
    home.chmod(0o755)
    screen = Screen(home)
    done = screen.run("init project --db postgres")
    if "There is no Postgres" in done.stderr:
        shutil.rmtree(home)
        pytest.skip("Postgres is not installed")
    assert done.returncode == 0, done.stderr
    screen.cwd = home / "project"
    screen.balsam("app --name hello --executable 'echo hello'")
    screen.balsam("job --name one --workflow w --application hello --yes")
    try:
        yield screen
    finally:
        finish(screen.cwd)
        shutil.rmtree(home)


@pytest.fixture
def screen(made: Screen) -> Iterator[Screen]:
    """The same, with its server stopped."""
    made.balsam("server stop")
    yield made


def test_start_stop_restart_and_status(screen: Screen) -> None:
    path = screen.cwd
    assert "server:                         stopped" in screen.balsam("server", 1)
    assert screen.balsam("server stop") == f"The server of {path} was not running\n"
    host = os.uname().nodename
    running = f"The server of {path} runs on {host}, and listens at its socket only\n"
    assert screen.balsam("server start") == running
    assert screen.balsam("server start") == running
    said = screen.balsam("server status")
    assert "runs on this machine" in said
    assert re.search(r"^listens: +at its socket only$", said, re.MULTILINE)
    (first,) = json.loads(screen.balsam("server status --json"))
    assert screen.balsam("server restart") == running
    (second,) = json.loads(screen.balsam("server --json"))
    assert first["pid"] != second["pid"]
    assert (second["where"], second["running"], second["problem"]) == ("here", True, "")
    assert screen.balsam("server stop").startswith(f"The server of {path} is stopped; ")


def test_listening(screen: Screen) -> None:
    said = screen.balsam("server start --listen localhost")
    assert re.search(r"and listens at 127\.0\.0\.1 port \d+, with(out)? TLS", said)
    assert "runs already" in screen.refused("server start --listen none")
    assert "1 job" in screen.balsam("ls --by-states") or "1" in screen.balsam("ls --by-states")
    assert "at its socket only" in screen.balsam("server restart --listen none")


def test_any_command_starts_it_unless_that_is_off(screen: Screen) -> None:
    assert "one" in screen.balsam("ls")
    assert "runs on this machine" in screen.balsam("server")
    screen.balsam("server stop")
    settings = screen.cwd / "settings.yml"
    before = settings.read_text()
    settings.write_text(before.replace("database:\n", "database:\n  auto_start: false\n"))
    try:
        assert "'balsam server start'" in screen.refused("ls")
        screen.balsam("server start")
        assert "one" in screen.balsam("ls")
    finally:
        settings.write_text(before)


def test_the_older_flags(screen: Screen) -> None:
    connected = "Connected to already running Balsam DB server!\n"
    assert screen.balsam("server --connect") == f"Launching Balsam DB server\n{connected}"
    assert screen.balsam("server --connect") == connected
    assert "and listens" in screen.balsam("server --reset")
    assert screen.balsam("server --list-active").startswith("pid | user | program")
    said = screen.balsam("server --list-users").splitlines()
    assert [part.strip() for part in said[2].split("|")][:2] == ["balsam", "owner"]
    assert "stopped" in screen.balsam("dbserver --stop")
    assert "and listens" in screen.balsam("dbserver --start")
    assert "and listens" in screen.balsam(f"dbserver --reset {screen.cwd}")
    assert "runs on this machine" in screen.balsam(f"dbserver --path {screen.cwd}")


def test_which_says_where_it_is_and_no_secret(screen: Screen) -> None:
    assert re.search(r"^server: +not running$", screen.balsam("which"), re.MULTILINE)
    screen.balsam("server start")
    said = screen.balsam("which")
    assert f"{screen.cwd / 'balsamdb'} port 5432" in said
    assert (screen.cwd / "balsamdb" / "password").read_text().strip() not in said


def test_users_are_made_once_and_dropped(screen: Screen) -> None:
    said = screen.balsam("server --add-user jane")
    assert re.search(r"^password of jane: [\w-]{43}$", said, re.MULTILINE)
    assert "type 'balsam server restart --listen auto'" in said
    assert "There is a user 'jane' already" in screen.refused("server --add-user jane")
    assert "jane can no longer use" in screen.balsam("server --drop-user jane")
    file = screen.home / "handed-over"
    screen.balsam(f"server --add-user jane --password-file {file}")
    assert file.stat().st_mode & 0o777 == 0o600
    assert re.fullmatch(r"\*:\*:balsam:jane:[\w-]{43}\n", file.read_text())
    assert "handed-over" in screen.refused(f"server --add-user joe --password-file {file}")
    assert "joe" not in screen.balsam("server --list-users")
    screen.balsam("server --drop-user jane")
    file.unlink()


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("server begin", 2, "'begin' is not one of"),
        ("server stop --listen auto", 2, "--listen and --port go with start, restart and reset"),
        ("server status --take-over", 2, "--take-over goes with start"),
        ("server start --json", 2, "--json goes with status"),
        ("server --list-users --password-file x", 2, "--password-file goes with --add-user"),
        ("server start --connect", 2, "at a time"),
        ("server stop --reset", 2, "at a time"),
        ("server start --listen localhost --port 80", 1, "not from 1024 to 65535"),
        ("server start --listen 192.0.2.77", 1, "which is not this machine"),
        ("server --add-user 'a b'", 1, "can not be the name of a user"),
        ("server --drop-user nobody", 1, "There is no user 'nobody'"),
        ("dbserver --start --reset .", 2, "Give one of"),
        ("dbserver --path /", 1, "no Balsam project"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(
    screen: Screen, line: str, code: int, words: str
) -> None:
    assert words in screen.refused(line, code)


def test_binaries_that_do_not_fit(screen: Screen, tmp_path: Path) -> None:
    said = screen.refused("server start", POSTGRES_BIN=str(tmp_path))
    assert "holds no Postgres that runs" in said
    said = screen.refused("ls", POSTGRES_BIN=str(tmp_path))
    assert "holds no Postgres that runs" in said


def test_nothing_is_left_of_a_project_that_could_not_be_made(made: Screen, tmp_path: Path) -> None:
    where = made.home / "never"
    done = made.run(f"init {where} --db postgres", POSTGRES_BIN=str(tmp_path))
    assert done.returncode == 1
    assert "holds no Postgres that runs" in done.stderr
    assert not where.exists()


def test_a_project_on_sqlite_needs_none(made: Screen, tmp_path: Path) -> None:
    screen = Screen(tmp_path)
    screen.balsam("init lite")
    screen.cwd = tmp_path / "lite"
    sentence = (
        f"The project {screen.cwd} is on SQLite, which needs no server: there is nothing to start, "
        "stop or share.\n"
    )
    for words in ("server", "server start", "server --connect", "server --add-user x", "dbserver"):
        assert screen.refused(words) == sentence


# -- activation ---------------------------------------------------------------------------------


def sourced(screen: Screen, shell: str, text: str, **environ: str) -> list[str]:
    """Lines that a shell prints, with its errors."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    programs = screen.home / "bin"
    programs.mkdir(exist_ok=True)
    (programs / "balsam").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m balsam "$@"\n')
    (programs / "balsam").chmod(0o755)
    path = f"{programs}:{ROOT / 'scripts'}:{os.environ['PATH']}"
    done = subprocess.run(
        [shell, "-c", text],
        cwd=screen.home, env={**screen.env, "PATH": path, **environ}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout.splitlines()


@pytest.mark.parametrize("shell", ["bash", "zsh", "ksh"])
def test_activating_starts_the_server(screen: Screen, shell: str) -> None:
    said = sourced(screen, shell, '. balsamactivate project; echo "$? $BALSAM_DB_PATH"')
    assert said == [f"Launched the database server of {screen.cwd}", f"0 {screen.cwd}"]
    assert server.look(Project(screen.cwd)).where is life.Where.HERE
    said = sourced(screen, shell, '. balsamactivate project; echo "$? $BALSAM_DB_PATH"')
    assert said == [f"0 {screen.cwd}"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "ksh"])
def test_activating_fails_loudly_if_the_server_does(screen: Screen, shell: str) -> None:
    said = sourced(
        screen,
        shell,
        'if . balsamactivate project; then echo yes; else echo "$? ${BALSAM_DB_PATH-none}"; fi',
        POSTGRES_BIN=str(screen.home),
    )
    assert len(said) == 2
    assert "holds no Postgres that runs" in said[0]
    assert said[1] == "1 none"


# -- shared with a group ------------------------------------------------------------------------


def test_another_user_works_on_a_shared_project(screen: Screen) -> None:
    """As docs/how-to/postgres.rst says: the owner listens and adds, the other has a ~/.pgpass."""
    if os.geteuid() != 0:
        pytest.skip("root may become another user; whoever runs this may not")
    from tests.machine.postgres.conftest import Other

    other = Other()
    program, python_path = other.python()
    home = Path(tempfile.mkdtemp(prefix="bj-", dir="/tmp"))
    try:
        screen.balsam("server start --listen localhost")
        screen.balsam(f"server --add-user jane --password-file {home / '.pgpass'}")
        for path in (home, home / ".pgpass"):
            os.chown(path, pwd.getpwnam("nobody").pw_uid, -1)
        (screen.cwd / ".balsam-site").chmod(0o444)

        def as_jane(line: str, **environ: str) -> subprocess.CompletedProcess[str]:
            words = {"HOME": str(home), "PYTHONPATH": python_path, "BALSAM_USER": "jane"}
            words |= {"BALSAM_DB_PATH": str(screen.cwd), **environ}
            return other.run(program, "-m", "balsam", *shlex.split(line), **words)

        done = as_jane("ls")
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        assert "one" in done.stdout
        done = as_jane("job --name hers --workflow w --application hello --yes")
        assert done.returncode == 0, done.stderr
        assert "hers" in screen.balsam("ls")
        for words in ("server stop", "server start", "server --add-user joe"):
            assert as_jane(words).returncode == 1, words
        done = as_jane("ls", BALSAM_USER="joe")
        assert done.returncode == 1
        assert "password" in done.stderr
        screen.balsam("server --drop-user jane")
        assert as_jane("ls").returncode == 1
        screen.balsam("server stop")
        done = as_jane("ls")
        assert done.returncode == 1
        assert "is somebody else's" in done.stderr
    finally:
        shutil.rmtree(home)
