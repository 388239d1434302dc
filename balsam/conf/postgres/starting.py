"""Starts a server that survives whoever started it, and waits until it answers."""

from __future__ import annotations

import datetime
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from balsam.conf.postgres import (
    account,
    certificates,
    cluster,
    life,
    listening,
    locks,
    logfile,
    record,
)
from balsam.conf.postgres.account import Account
from balsam.conf.postgres.binaries import Binaries
from balsam.conf.postgres.record import Published, Record
from balsam.conf.project import Project
from balsam.errors import ServerError
from balsam.platform import node

#: After a crash it first repeats what its log holds, which can take minutes.
READY_SECONDS = 300.0
_POLL_SECONDS = 0.01
#: Another program may take a port between the look at it and the start.
_PORT_TRIES = 3

#: Run by a Python of its own. A process in a session of its own, without a parent: neither the end
#: of a terminal, nor of a batch step's process group, nor of a task and its descendants reaches it.
_DETACH = """
import os, sys
os.umask(0o077)
os.setsid()
if os.fork():
    os._exit(0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


@dataclass(frozen=True)
class Wish:
    """How a server is to listen: ``""``, ``auto`` or a name of this machine; 0 is any port."""

    listen: str = ""
    port: int = 0


def start(project: Project, programs: Binaries, wish: Wish) -> Record:
    """Start the server, which does not run, and wait until it answers.

    Call it with the lock of starters. Raises ServerError, or OSError; no server is left then.
    """
    runner = account.find(project.database_dir)
    place = listening.choose(wish.listen)
    for attempt in range(_PORT_TRIES):
        port = listening.choose_port(place.bind, wish.port, project)
        note = certificates.ensure(project, programs, runner) if place.bind else ""
        told = Record(
            machine=node.identity(),
            host=socket.gethostname(),
            port=port,
            socket_dir=listening.socket_dir(project, port),
            listen=wish.listen,
            address=place.told,
            tls=bool(place.bind) and not note,
            tls_note=note,
            version=programs.full,
            since=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            path=str(project.path),
        )
        try:
            return _start(project, programs, runner, told, place.bind)
        except ServerError as error:
            taken = place.bind and "TCP/IP" in str(error)
            if not taken or wish.port or attempt == _PORT_TRIES - 1:
                raise
    raise AssertionError("the last attempt returns or raises")


def _start(
    project: Project, programs: Binaries, runner: Account, told: Record, bind: str
) -> Record:
    _clear(project, told)
    _write_hba(project, told, runner, bind)
    # Written before the start, so that another host sees where it is even if this one dies now.
    record.write(project, told)
    offset = logfile.size(project)
    try:
        with locks.held_for_server(project.database_dir) as lock:
            _spawn(project, [*runner.prefix, *_command(project, programs, told, bind)], lock)
    except BaseException:
        record.clear(project)
        raise
    return wait_ready(project, told, offset)


def wait_ready(project: Project, told: Record, offset: int | None = None) -> Record:
    """Wait until the server that was started answers; its record, complete.

    ``offset`` is where its own lines begin in the log. Raises ServerError if it ends instead, or
    takes too long, as after a crash with much to repeat: then it goes on.
    """
    give_up = time.monotonic() + READY_SECONDS
    while time.monotonic() < give_up:
        postmaster = life.read_postmaster(project)
        if postmaster is not None and life.is_ours(postmaster.pid, project.cluster_dir):
            if postmaster.ready:
                return _announce(project, told, postmaster)
        elif not locks.lives(project.database_dir):
            record.clear(project)
            reason = logfile.complaint(project, offset or 0) if offset is not None else ""
            raise ServerError(
                f"The server of {project.path} did not start"
                f"{': ' + reason.rstrip('.') if reason else ''}; its log is "
                f"{logfile.path(project)}."
            )
        time.sleep(_POLL_SECONDS)
    raise ServerError(
        f"The server of {project.path} does not answer after {READY_SECONDS:g} s; it may be "
        f"repeating what it did before a crash, and goes on: its log is {logfile.path(project)}."
    )


def adopted(project: Project, postmaster: life.Postmaster) -> Record:
    """The record of a server that lives without one: its starter was killed, or was not Balsam."""
    directory = postmaster.socket_dir
    return Record(
        machine=node.identity(),
        host=socket.gethostname(),
        port=postmaster.port,
        pid=postmaster.pid,
        socket_dir="" if directory == str(project.database_dir) else directory,
        listen=postmaster.listen,
        address=listening.best_address() if postmaster.listen == "*" else postmaster.listen,
        tls=bool(postmaster.listen) and "hostssl" in _hba(project).read_text(),
        since=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        path=str(project.path),
    )


def _announce(project: Project, told: Record, postmaster: life.Postmaster) -> Record:
    complete = replace(told, pid=postmaster.pid)
    record.write(project, complete)
    if complete.address:
        content = Published(complete.address, complete.port, cluster.DATABASE, complete.tls)
        record.publish(
            project, content, certificates.certificate(project) if complete.tls else None
        )
    return complete


def _clear(project: Project, told: Record) -> None:
    """Remove what a dead server has left where the new one begins."""
    life.forget_postmaster(project)
    for path in told.socket(project).glob(".s.PGSQL.*"):
        path.unlink(missing_ok=True)


def _write_hba(project: Project, told: Record, runner: Account, bind: str) -> None:
    """Say who may connect: whoever knows a password, from outside only if asked for, by TLS."""
    lines = ["# Written by Balsam at each start.", "local all all scram-sha-256"]
    if bind:
        lines.append(f"{'hostssl' if told.tls else 'host'} all all all scram-sha-256")
    new = _hba(project).with_name("pg_hba.conf.new")
    new.unlink(missing_ok=True)
    cluster.write_private(new, "\n".join(lines) + "\n", runner)
    new.replace(_hba(project))


def _hba(project: Project) -> Path:
    return project.cluster_dir / "pg_hba.conf"


def _command(project: Project, programs: Binaries, told: Record, bind: str) -> list[str]:
    quoted = str(told.socket(project)).replace('"', '""')
    settings = {
        "listen_addresses": bind,
        "port": told.port,
        # A list of names: in quotes anything but a quote stands for itself.
        "unix_socket_directories": f'"{quoted}"',
        "unix_socket_permissions": "0700",
        "ssl": "on" if told.tls else "off",
    }
    words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return [programs.program("postgres"), "-D", str(project.cluster_dir), *words]


def _spawn(project: Project, argv: list[str], lock: int) -> None:
    """Start the server without a parent, terminal or any file but its log and the lock of life."""
    log = logfile.open_for_server(project)
    try:
        subprocess.run(
            [sys.executable, "-I", "-S", "-c", _DETACH, *argv],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=cluster.environment(),
            pass_fds=(lock,),
            timeout=60,
            check=True,
        )
    except subprocess.SubprocessError as error:
        raise ServerError(
            f"The server of {project.path} could not be started: {sys.executable} failed to begin "
            f"it ({type(error).__name__}); its log is {logfile.path(project)}."
        ) from error
    finally:
        os.close(log)
