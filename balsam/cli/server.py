"""``balsam server``: the Postgres server of a project, and who may use it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from balsam.cli import output
from balsam.cli.commands import Command

if TYPE_CHECKING:
    from balsam.conf.postgres.record import Record
    from balsam.conf.postgres.status import Status
    from balsam.conf.project import Project

ACTIONS = ("start", "stop", "restart", "status", "reset")
_SHOWN = f"[{'|'.join(ACTIONS)}]"


@click.command("server", cls=Command)
@click.argument("action", required=False, type=click.Choice(ACTIONS), metavar=_SHOWN)
@click.option(
    "--listen",
    metavar="HOST|auto",
    help="With start, restart or reset: listen for other machines too, at a name or address of "
    "this one, or at the address that compute nodes most likely reach; 'none' is its socket only. "
    "Default: database.listen in settings.yml.",
)
@click.option("--port", type=int, default=0, help="With --listen: the port (default: a free one).")
@click.option(
    "--take-over",
    is_flag=True,
    help="With start: start it here though it was last started on another host, which you know to "
    "be down.",
)
@click.option("--json", "as_json", is_flag=True, help="With status: print JSON.")
@click.option("--connect", is_flag=True, help="Start it if it does not run, and try to connect.")
@click.option("--reset", "reset", is_flag=True, help="The older way to say 'reset'.")
@click.option("--list-active-connections", "connections", is_flag=True, help="List the clients.")
@click.option("--list-users", "users", is_flag=True, help="List who may use the database.")
@click.option(
    "--add-user",
    metavar="NAME",
    help="Let somebody else read and write the database, with a password that is printed once.",
)
@click.option(
    "--password-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="With --add-user: write the password to a new FILE (mode 0600, a line for ~/.pgpass) "
    "instead of printing it.",
)
@click.option("--drop-user", metavar="NAME", help="Take that back.")
def command(
    action: str | None,
    listen: str | None,
    port: int,
    take_over: bool,
    as_json: bool,
    connect: bool,
    reset: bool,
    connections: bool,
    users: bool,
    add_user: str | None,
    password_file: Path | None,
    drop_user: str | None,
) -> None:
    """Start, stop or look after the Postgres server of the project; without a word, its status.

    Commands start it when they need it (database.auto_start in settings.yml). It goes on until it
    is stopped or its host goes down.

    \b
    Examples:
      balsam server restart --listen auto
      balsam server --add-user jane
    """
    asked: dict[str, Callable[[Project], None]] = {}
    if action or reset:
        asked[action or "reset"] = {
            "start": lambda project: _start(project, listen, port, take_over),
            "stop": _stop,
            "restart": lambda project: _restart(project, listen, port),
            "status": lambda project: _status(project, as_json),
            "reset": lambda project: _reset(project, listen, port),
        }["reset" if reset else str(action)]
    if connect:
        asked["--connect"] = _connect
    if connections:
        asked["--list-active-connections"] = _list_connections
    if users:
        asked["--list-users"] = _list_users
    if add_user is not None:
        asked["--add-user"] = lambda project: _add(project, add_user, password_file)
    if drop_user is not None:
        asked["--drop-user"] = lambda project: _drop(project, drop_user)
    if len(asked) > 1 or (reset and action):
        raise click.UsageError(f"Give one of {', '.join([*ACTIONS, *list(asked)[1:]])} at a time.")
    ((word, act),) = asked.items() or [("status", lambda project: _status(project, as_json))]
    if (listen is not None or port) and word not in ("start", "restart", "reset"):
        raise click.UsageError("--listen and --port go with start, restart and reset.")
    if take_over and word != "start":
        raise click.UsageError("--take-over goes with start.")
    if as_json and word != "status":
        raise click.UsageError("--json goes with status.")
    if password_file is not None and word != "--add-user":
        raise click.UsageError("--password-file goes with --add-user.")
    act(_project())


@click.command("dbserver", cls=Command)
@click.option("--start", "action", flag_value="start", help="Start the server.")
@click.option("--stop", "action", flag_value="stop", help="Stop it.")
@click.option("--reset", metavar="PATH", help="Stop and start the server of the project in PATH.")
@click.option("--path", metavar="PATH", help="The project (default: the one around).")
def dbserver(action: str | None, reset: str | None, path: str | None) -> None:
    """Start or stop the Postgres server of a project: the older name of 'balsam server'."""
    if action and reset is not None:
        raise click.UsageError("Give one of --start, --stop and --reset.")
    project = _project(reset if reset is not None else path)
    if reset is not None:
        _reset(project, None, 0)
    elif action == "stop":
        _stop(project)
    elif action == "start":
        _start(project, None, 0, False)
    else:
        _status(project, False)


def _project(path: str | None = None) -> Project:
    """The project to act on. Raises ServerError if it has no server."""
    from balsam.conf import project as projects
    from balsam.errors import ServerError

    project = projects.find() if path is None else projects.find(Path(path), {})
    if project.settings().database.engine != "postgres":
        raise ServerError(
            f"The project {project.path} is on SQLite, which needs no server: there is nothing to "
            "start, stop or share."
        )
    return project


def _start(project: Project, listen: str | None, port: int, take_over: bool) -> None:
    from balsam.conf.postgres import server

    _started(project, server.start(project, _wish(listen), port=port, take_over=take_over))


def _restart(project: Project, listen: str | None, port: int) -> None:
    from balsam.conf.postgres import server

    _started(project, server.restart(project, _wish(listen), port=port))


def _reset(project: Project, listen: str | None, port: int) -> None:
    from balsam.conf.postgres import server

    _started(project, server.reset(project, _wish(listen), port=port))


def _wish(listen: str | None) -> str | None:
    return "" if listen in ("none", "") else listen


def _started(project: Project, told: Record) -> None:
    print(f"The server of {project.path} runs on {told.host}, {_reach(told)}")


def _reach(told: Record | Status) -> str:
    if not told.address:
        return "and listens at its socket only"
    how = "with TLS" if told.tls else f"without TLS ({told.tls_note})"
    return f"and listens at {told.address} port {told.port}, {how}"


def _stop(project: Project) -> None:
    from balsam.conf.postgres import server

    if server.stop(project):
        print(f"The server of {project.path} is stopped; commands start it again when they need it")
    else:
        print(f"The server of {project.path} was not running")


def _connect(project: Project) -> None:
    from balsam.conf.postgres import server

    if server.connect(project):
        print("Launching Balsam DB server")
    print("Connected to already running Balsam DB server!")


def _status(project: Project, as_json: bool) -> None:
    from balsam.conf.postgres import status

    found = status.status(project)
    if as_json:
        output.print_json([dataclasses.asdict(found)])
        return
    output.emit(output.labelled(_described(found)))
    if found.problem:
        output.note(found.problem)
    if not found.running:
        raise click.exceptions.Exit(1)


def _described(found: Status) -> list[tuple[str, object]]:
    lines: list[tuple[str, object]] = [("server", _state(found))]
    if found.where != "stopped":
        lines += [("host", found.host), ("port", found.port)]
    if found.pid:
        lines += [
            ("running since", f"{found.since} (process {found.pid})"),
            ("version", found.version),
            ("socket", found.socket),
            ("listens", found.address or "at its socket only"),
        ]
    if found.address:
        lines.append(("TLS", "on" if found.tls else f"off: {found.tls_note}"))
    if found.connections is not None:
        lines.append(("connections", found.connections))
    if found.size_bytes is not None:
        lines.append(("size", f"{found.size_bytes / 1e6:.1f} MB"))
    return lines


def _state(found: Status) -> str:
    words = {
        "here": "runs on this machine",
        "elsewhere": "runs on another machine",
        "external": "of somebody else",
        "stopped": "stopped",
        "ending": "about to end",
    }[found.where]
    unanswered = found.where in ("elsewhere", "external") and not found.running
    return f"{words}{', and does not answer' if unanswered else ''}"


def _list_connections(project: Project) -> None:
    from balsam.conf.postgres import users

    rows = [
        (one.pid, one.user, one.program, one.client or "socket", one.state, one.since)
        for one in users.connections(project)
    ]
    output.emit(output.table(("pid", "user", "program", "from", "state", "since"), rows))


def _list_users(project: Project) -> None:
    from balsam.conf.postgres import users

    rows = [
        (one.name, "owner" if one.owner else "reads and writes", one.connections)
        for one in users.users(project)
    ]
    output.emit(output.table(("user", "may", "connections"), rows))


def _add(project: Project, name: str, file: Path | None) -> None:
    from balsam.conf.postgres import status, users

    if file is None:
        password = users.add(project, name)
        print(f"password of {name}: {password}")
        output.note("It is shown only now. It belongs into ~/.pgpass (mode 0600) of that user:")
        output.note(f"  {_pass_line(status.status(project), name, 'PASSWORD')}")
    else:
        _add_into(project, name, file)
        print(f"Wrote the password of {name} to {file}, as a line for ~/.pgpass of that user")
    found = status.status(project)
    if found.where != "external" and not found.address:
        output.note(
            f"The server listens at its socket only, where {name} does not get in; type 'balsam "
            "server restart --listen auto', or with '--listen localhost' for this machine only."
        )


def _add_into(project: Project, name: str, file: Path) -> None:
    """The file comes first: a password that can not be kept must not be made."""
    from balsam.conf.postgres import status, users

    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8") as stream:
            password = users.add(project, name)
            stream.write(_pass_line(status.status(project), name, password) + "\n")
    except BaseException:
        file.unlink()
        raise


def _pass_line(found: Status, name: str, password: str) -> str:
    """How libpq wants it: https://www.postgresql.org/docs/current/libpq-pgpass.html"""
    host = (found.address or "*").replace("\\", "\\\\").replace(":", "\\:")
    return f"{host}:{found.port if found.address else '*'}:balsam:{name}:{password}"


def _drop(project: Project, name: str) -> None:
    from balsam.conf.postgres import users

    users.drop(project, name)
    print(f"{name} can no longer use the database of {project.path}")
