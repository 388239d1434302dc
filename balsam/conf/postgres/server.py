"""Start, stop and ask after the server of a project.

Every call may come from any process, on any host that sees the project, several at once: one of
them acts, the others wait for it. Errors are ServerErrors of one sentence.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any

from balsam.conf.postgres import (
    account,
    address,
    apart,
    binaries,
    cluster,
    life,
    listening,
    locks,
    record,
    starting,
    users,
)
from balsam.conf.postgres.life import Life, Where
from balsam.conf.postgres.record import Record
from balsam.conf.postgres.starting import Wish
from balsam.conf.project import Project
from balsam.errors import ServerError, ServerStopped

#: How long to wait for another command that starts or stops the server.
_TURN_SECONDS = starting.READY_SECONDS + 60
#: A server that is told to stop writes what it has in memory.
STOP_SECONDS = 120.0
_KILL_SECONDS = 15.0
_LAST_SECONDS = 3.0
#: Whoever can not wait gives a server so long to show that it lives.
_GLANCE_SECONDS = 0.5


def start(
    project: Project, listen: str | None = None, *, port: int = 0, take_over: bool = False
) -> Record:
    """Start the server, unless it runs; where it is to be found.

    ``listen`` is ``""`` for its socket only, ``auto``, or a name or address of this machine; None
    is as the settings say. ``port`` 0 is any. ``take_over`` starts it here though it was last
    started on another host, which must be known to be down. Raises ServerError.
    """
    with _acting(project):
        return _start(project, listen, port, take_over)


def stop(project: Project, timeout_seconds: float = STOP_SECONDS) -> bool:
    """Stop the server; False if it did not run.

    Its clients are disconnected, what they have not committed is undone. Raises ServerError.
    """
    with stopped(project, timeout_seconds) as did_run:
        return did_run


@contextlib.contextmanager
def stopped(project: Project, timeout_seconds: float = STOP_SECONDS) -> Iterator[bool]:
    """Stop the server, and keep everybody from starting it in the block; whether it ran.

    Raises ServerError.
    """
    with _acting(project):
        yield _stop(project, timeout_seconds)


def restart(project: Project, listen: str | None = None, *, port: int = 0) -> Record:
    """Stop the server, if it runs, and start it; where it is to be found. Raises ServerError."""
    with _acting(project):
        _stop(project, STOP_SECONDS)
        return _start(project, listen, port, False)


def reset(project: Project, listen: str | None = None, *, port: int = 0) -> Record:
    """Restart a server that answers no more, or whose files say what is not so.

    What does not stop at once is killed; nothing that was committed is lost. Raises ServerError.
    """
    with _acting(project):
        try:
            record.read(project)
        except ServerError:
            record.clear(project)
        _stop(project, _KILL_SECONDS)
        return _start(project, listen, port, False)


def parameters(project: Project, *, wait: bool = True) -> dict[str, Any]:
    """``address.parameters``, after starting a server that is not running for all that is known.

    ``wait`` as in :func:`ensure`.
    """
    try:
        return address.parameters(project)
    except ServerStopped:
        ensure(project, wait=wait)
        return address.parameters(project)


def ensure(project: Project, *, wait: bool = True) -> bool:
    """Have a server that answers: start it if it does not run and the settings allow.

    To be called when a connection has failed. False where there is nothing to do about it: for an
    external server, and for that of somebody else's project. Without ``wait`` it is started by
    another process, and ServerStopped says so at once. Raises ServerStopped if it may not be
    started, ServerError if it can not be.
    """
    settings = project.settings().database
    if settings.url or not account.may_act(project.database_dir):
        return False
    found = look(project)
    if _serves(project, found, listening.ANSWER_SECONDS if wait else _GLANCE_SECONDS):
        return True
    if not settings.auto_start and found.where is not Where.ELSEWHERE:
        raise ServerStopped(
            f"The database server of {project.path} does not run, and database.auto_start is "
            "false; start it with 'balsam server start'."
        )
    if not wait:
        raise ServerStopped(apart.begin(project))
    start(project)
    return True


def connect(project: Project) -> bool:
    """Have a server that answers, and ask it; whether it was started for that.

    Unlike ``ensure`` this starts it whatever the settings say. Raises ServerError.
    """
    try:
        with users.connected(project):
            return False
    except ServerError:
        if project.settings().database.url:
            raise
    start(project)
    with users.connected(project):
        return True


@contextlib.contextmanager
def _acting(project: Project) -> Iterator[None]:
    """Be the only one who acts on the server; errors of the system become sentences."""
    if project.settings().database.url:
        raise ServerError(
            f"The database of {project.path} is on a server of its own (database.url in "
            f"{project.settings_file}), which Balsam neither starts nor stops."
        )
    try:
        account.find(project.database_dir)
        with locks.only_one(project.database_dir, _TURN_SECONDS):
            yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise ServerError(
            f"The server of {project.path} can not be started or stopped: "
            f"{error.strerror or error}{where}; check the permissions of its balsamdb and the "
            "space left."
        ) from error


def look(project: Project) -> Life:
    """Where the server is. Raises ServerError, also if this user may not look."""
    try:
        return life.look(project)
    except PermissionError as error:
        raise ServerError(
            f"The server of {project.path} belongs to its owner, who alone can look after it "
            f"({error.filename}: {error.strerror})."
        ) from error


def _serves(project: Project, found: Life, seconds: float) -> bool:
    """Whether the server is here, answers, and is on record: then nobody's turn is waited for."""
    told, postmaster = found.record, life.read_postmaster(project)
    if found.where is not Where.HERE or told is None or postmaster is None:
        return False
    return postmaster.ready and told.pid == found.pid and listening.answers(project, told, seconds)


def _start(project: Project, listen: str | None, port: int, take_over: bool) -> Record:
    version = cluster.version(project)
    found = look(project)
    if found.where is Where.HERE and not listening.answers(project, found.record):
        # Killed a moment ago, it is still to be seen.
        life.until_ended(project, found.pid, _LAST_SECONDS)
        found = look(project)
    if found.where is Where.HERE:
        return _running(project, found, listen, port)
    if found.where is Where.ELSEWHERE:
        _check_elsewhere(project, found, take_over)
    _end_rest(project, found)
    wish = Wish(project.settings().database.listen if listen is None else listen, port)
    return starting.start(project, binaries.find(version=version), wish)


def _running(project: Project, found: Life, listen: str | None, port: int) -> Record:
    """The record of the server that runs here; written anew if its starter did not come to it."""
    told = found.record
    postmaster = life.read_postmaster(project)
    if told is None or told.pid != found.pid:
        if postmaster is not None and (told is None or told.pid):
            told = starting.adopted(project, postmaster)
        if told is None:
            # Its own file was there a moment ago: it is about to end, or somebody removes files.
            raise ServerError(
                f"A server of {project.path} (process {found.pid}) runs, but neither its address "
                "nor its postmaster.pid is there; type 'balsam server reset'."
            )
        told = starting.wait_ready(project, told)
    elif postmaster is None or not postmaster.ready:
        told = starting.wait_ready(project, told)
    if (listen is not None and listen != told.listen) or port not in (0, told.port):
        raise ServerError(
            f"The server of {project.path} runs already, and listens "
            f"{f'at {told.address} port {told.port}' if told.address else 'at its socket only'}; "
            "type 'balsam server restart' with these options instead."
        )
    return told


def _check_elsewhere(project: Project, found: Life, take_over: bool) -> None:
    """Raises ServerError if the server has to be left where it is."""
    assert found.record is not None
    if locks.lives(project.database_dir):
        if take_over:
            raise ServerError(
                f"The server of {project.path} still lives on {found.record.host} (it holds its "
                "lock), so it can not be taken over; stop it there."
            )
        raise ServerError(elsewhere(project, found.record))
    if not take_over:
        raise ServerError(elsewhere(project, found.record))


def elsewhere(project: Project, told: Record) -> str:
    """What to do about a server that was started on another host and is not reached from here."""
    if told.address:
        return (
            f"The database server of {project.path} was started on {told.host} and does not answer "
            f"at {told.address} port {told.port}; type 'balsam server restart' there, or if "
            f"{told.host} is down, 'balsam server start --take-over' here."
        )
    return (
        f"The database server of {project.path} runs on {told.host} and is reached only there; "
        f"type 'balsam server restart --listen auto' there, or if {told.host} is down, 'balsam "
        "server start --take-over' here."
    )


def _end_rest(project: Project, found: Life) -> None:
    """Wait for what is left of a server that lost its first process; kill it if it stays."""
    if found.where is Where.ENDING and not locks.until_gone(project.database_dir, _KILL_SECONDS):
        life.kill_rest(project)
        if not locks.until_gone(project.database_dir, _KILL_SECONDS):
            raise ServerError(
                f"Processes of an earlier server of {project.path} do not end, perhaps in another "
                "container of this machine; end them, or restart the machine."
            )


def _stop(project: Project, timeout_seconds: float) -> bool:
    found = look(project)
    if found.where is Where.ELSEWHERE:
        assert found.record is not None
        raise ServerError(
            f"The server of {project.path} runs on {found.record.host}, and can be stopped only "
            "there; if that host is down, 'balsam server start --take-over' starts it here."
        )
    if found.where is Where.HERE:
        _end(project, found.pid, timeout_seconds)
    _end_rest(project, look(project))
    listening.forget_socket_dir(found.record.socket_dir if found.record else "")
    record.clear(project)
    return found.where is Where.HERE


def _end(project: Project, pid: int, timeout_seconds: float) -> None:
    """Tell the server to stop: after writing all it has in memory, then at once, then by force."""
    steps = (
        (signal.SIGINT, timeout_seconds),
        (signal.SIGQUIT, _KILL_SECONDS),
        (signal.SIGKILL, _KILL_SECONDS),
    )
    for number, seconds in steps:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        if life.until_ended(project, pid, seconds):
            return
    raise ServerError(f"The server of {project.path} (process {pid}) does not end.")
