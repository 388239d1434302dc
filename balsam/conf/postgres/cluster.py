"""The files of a project's Postgres server: made whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from balsam.conf.postgres import account as accounts
from balsam.conf.postgres import binaries, passwords
from balsam.conf.postgres.account import Account
from balsam.conf.postgres.binaries import Binaries
from balsam.conf.project import Project
from balsam.errors import LaunchError, ServerError
from balsam.platform import commands

#: The role that owns everything, and the database.
OWNER = DATABASE = "balsam"
#: On a slow shared file system initdb writes its thousand files in minutes.
_TIMEOUT_SECONDS = 600.0
_FRAGMENT = "balsam.conf"
_TEMPORARY = ".new-postgres-"

#: Where and how it listens is not here: that is decided at each start.
CONFIGURATION = """\
# Written by Balsam; put changes into postgresql.conf, below the line that includes this file.

# A commit that was answered is on the disk, whatever dies.
fsync = on
synchronous_commit = on
full_page_writes = on

max_connections = 200
password_encryption = scram-sha-256
# A node that vanished holds its locks no longer than a minute.
tcp_keepalives_idle = 30
tcp_keepalives_interval = 10
tcp_keepalives_count = 3
tcp_user_timeout = 60s
client_connection_check_interval = 10s

# Modest, for a login node that others use too.
shared_buffers = 128MB
effective_cache_size = 1GB
work_mem = 16MB
maintenance_work_mem = 64MB
random_page_cost = 1.1
jit = off

# Nobody copies the write-ahead log elsewhere.
wal_level = minimal
max_wal_senders = 0

# Only what went wrong, and none of the data in it.
logging_collector = off
log_destination = stderr
log_line_prefix = '%m [%p] %u@%d '
log_min_messages = warning
log_min_error_statement = panic
log_error_verbosity = terse
log_checkpoints = off
log_connections = off
log_disconnections = off
log_statement = none
log_timezone = UTC
timezone = UTC
lc_messages = C
"""

#: A command on one line each: a server for a single user reads them so.
_FIRST_STATEMENTS = f"""\
REVOKE CREATE ON SCHEMA public FROM PUBLIC
REVOKE ALL ON DATABASE template1 FROM PUBLIC
REVOKE ALL ON DATABASE postgres FROM PUBLIC
CREATE DATABASE {DATABASE}
REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC
"""


def make(project: Project, programs: Binaries | None = None) -> None:
    """Make the server's files in the project, with a generated password; nothing runs yet.

    Whatever fails, no file of it is left. Raises ServerError, also if such files are there already.
    """
    programs = programs or binaries.find()
    if "\n" in str(project.path) or "\r" in str(project.path):
        raise ServerError(
            f"The path {project.path} holds a line break, which Postgres does not take; choose "
            "another directory."
        )
    refuse_what_is_there(project)
    try:
        runner = accounts.find(project.database_dir)
        with tempfile.TemporaryDirectory(
            prefix=_TEMPORARY, dir=project.database_dir, ignore_cleanup_errors=True
        ) as scratch:
            runner.give(Path(scratch))
            _make(project, programs, runner, Path(scratch))
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise ServerError(
            f"The Postgres files of {project.path} can not be made: {error.strerror}{where}; "
            "choose another directory, or mend that first."
        ) from error


def _make(project: Project, programs: Binaries, runner: Account, scratch: Path) -> None:
    password = passwords.generate()
    new = scratch / "postgres"
    _run_initdb(programs, runner, new, passwords.verifier(password))
    _configure(new, runner)
    _make_database(programs, runner, new)
    write_private(project.password_file, password + "\n", runner)
    try:
        os.rename(new, project.cluster_dir)
    except OSError:
        project.password_file.unlink()
        raise


def _run_initdb(programs: Binaries, runner: Account, new: Path, secret: str) -> None:
    words = new.with_name("verifier")
    write_private(words, secret + "\n", runner)
    argv = [
        *runner.prefix,
        programs.program("initdb"),
        f"--pgdata={new}",
        f"--username={OWNER}",
        "--auth=scram-sha-256",
        f"--pwfile={words}",
        "--encoding=UTF8",
        # The same order of texts and the same files on every machine, as in SQLite.
        "--locale=C",
        "--data-checksums",
    ]
    try:
        done = commands.run(argv, _TIMEOUT_SECONDS, environment())
    except LaunchError as error:
        raise ServerError(f"The Postgres files can not be made: {error}") from error
    if done.returncode != 0:
        told = [line for line in done.stderr.splitlines() if "rror:" in line or "FATAL" in line]
        reason = " ".join((told or [f"it ended with code {done.returncode}"])[0].split())
        raise ServerError(
            f"The Postgres files can not be made in {new.parents[1]}: "
            f"{reason.removeprefix('initdb: error: ')}; mend that, or choose another directory "
            f"(initdb of {programs.directory}, version {programs.full})."
        )


def _configure(new: Path, runner: Account) -> None:
    write_private(new / _FRAGMENT, CONFIGURATION, runner)
    with (new / "postgresql.conf").open("a", encoding="utf-8") as stream:
        stream.write(f"\ninclude '{_FRAGMENT}'\n\n")
    # Until it is started, which says who may connect from where, nobody may.
    (new / "pg_hba.conf").write_text("local all all reject\n")


def _make_database(programs: Binaries, runner: Account, new: Path) -> None:
    argv = [*runner.prefix, programs.program("postgres"), "--single", "-D", str(new), "template1"]
    try:
        done = subprocess.run(
            argv, input=_FIRST_STATEMENTS, env=environment(), capture_output=True, text=True,
            errors="replace", timeout=_TIMEOUT_SECONDS, check=False, start_new_session=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ServerError(
            f"Postgres did not make the database in {new.parents[1]} within {_TIMEOUT_SECONDS:g} s."
        ) from error
    failed = [line for line in done.stderr.splitlines() if "ERROR" in line or "FATAL" in line]
    if done.returncode != 0 or failed:
        reason = failed[0] if failed else f"it ended with code {done.returncode}"
        raise ServerError(f"Postgres did not make the database in {new.parents[1]}: {reason}.")


def remove(project: Project) -> None:
    """Remove everything of a server that does not run; what is not there is no error."""
    shutil.rmtree(project.cluster_dir, ignore_errors=True)
    for path in project.database_dir.glob(f"{_TEMPORARY}*"):
        shutil.rmtree(path, ignore_errors=True)
    for path in (project.password_file, project.server_file, *project.database_dir.glob("*.lock")):
        with contextlib.suppress(OSError):
            path.unlink()


def refuse_what_is_there(project: Project) -> None:
    """Raises ServerError if the project has files of a server, or something in their place."""
    for path in (project.cluster_dir, project.password_file):
        if os.path.lexists(path):
            raise ServerError(
                f"{path} is there already; move it away, or choose another directory for the "
                "project."
            )


def version(project: Project) -> int:
    """The major version of Postgres that made the files.

    Raises ServerError if they are not there, not whole, or not of a project of Balsam.
    """
    file = project.cluster_dir / "PG_VERSION"
    try:
        found = int(file.read_text())
    except FileNotFoundError as error:
        raise ServerError(
            f"The project {project.path} has no Postgres files ({file} is missing); put back what "
            "was moved or removed, or make a new project with 'balsam init --db postgres' and "
            "restore a backup there."
        ) from error
    except (OSError, ValueError) as error:
        raise ServerError(f"The Postgres files can not be read: {file}: {error}.") from error
    if not (project.cluster_dir / _FRAGMENT).is_file():
        raise ServerError(
            f"{project.cluster_dir} is a Postgres data directory that Balsam did not make "
            f"({_FRAGMENT} is missing), so it is not touched; move it away and put back the "
            "project's own."
        )
    return found


def password(project: Project) -> str:
    """The owner's password. Raises ServerError."""
    file = project.password_file
    try:
        text = file.read_text(encoding="utf-8").strip()
        loose = file.stat().st_mode & 0o077
    except OSError as error:
        raise ServerError(
            f"The password of the database can not be read from {file} ({error.strerror}); put the "
            "file back, or ask its owner for an account ('balsam server --add-user')."
        ) from error
    if loose:
        raise ServerError(
            f"Others may read the password in {file} (mode {file.stat().st_mode & 0o777:04o}); "
            f"type 'chmod 600 {file}'."
        )
    return text


def environment() -> dict[str, str]:
    """What the programs of the server see of the environment.

    Nothing of Balsam's, so that a server that a task has started is not taken for a part of it, and
    no PG* variable, which would change what they do.
    """
    kept = ("PATH", "HOME", "USER", "LOGNAME", "LD_LIBRARY_PATH", "TMPDIR")
    return {"LC_ALL": "C"} | {name: os.environ[name] for name in kept if name in os.environ}


def write_private(path: Path, text: str, runner: Account) -> None:
    """Write a new file that only the server's account may read. Raises OSError if it is there."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    with open(descriptor, "w", encoding="utf-8") as stream:
        os.fchmod(descriptor, 0o600)
        stream.write(text)
        stream.flush()
        os.fsync(descriptor)
    runner.give(path)
