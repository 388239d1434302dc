"""Where a server listens: its socket's directory, and an address and port for other machines."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import os
import secrets
import socket
import stat
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from balsam.conf.postgres.record import Record
from balsam.conf.project import Project
from balsam.errors import InvalidValue, ServerError

#: The number in the name of a socket; several servers do not meet in one directory.
SOCKET_PORT = 5432
AUTO = "auto"
EVERYWHERE = ("*", "0.0.0.0", "::")
#: What sun_path holds, with the zero byte that ends it (unix(7)).
_SUN_PATH = 108
_NETWORKS_OF_NODES = ("hsn", "ib", "ipogif", "opa")
_VIRTUAL = ("docker", "br-", "virbr", "veth", "podman", "cni", "flannel", "lxc", "lo", "tun", "tap")
#: Below the ports that systems give to clients (/proc/sys/net/ipv4/ip_local_port_range).
_PORTS = range(20000, 32000)
ANSWER_SECONDS = 5.0
#: https://www.postgresql.org/docs/current/protocol-message-formats.html
_SSL_REQUEST = struct.pack("!II", 8, 80877103)


@dataclass(frozen=True)
class Listening:
    """An address to bind (Postgres' ``listen_addresses``), and the one that clients are told."""

    bind: str = ""
    told: str = ""


def choose(listen: str) -> Listening:
    """Where to listen: nowhere for ``""``, ``auto``, or a host name or address of this machine.

    Raises ServerError.
    """
    if not listen:
        return Listening()
    if listen in EVERYWHERE:
        return Listening("*", best_address())
    if listen == AUTO:
        address = best_address()
        return Listening(address, address)
    address = _own(listen)
    return Listening(address, address)


def _own(host: str) -> str:
    """The address of that name, if it is one of this machine."""
    try:
        found = {str(one[4][0]): one[0] for one in socket.getaddrinfo(host, 0)}
    except (OSError, UnicodeError) as error:
        raise ServerError(
            f"The server can not listen at '{host}': {getattr(error, 'strerror', error)}; give a "
            "host name or address of this machine, or 'auto'."
        ) from error
    for address, family in sorted(found.items(), key=lambda one: one[1] != socket.AF_INET):
        if _binds(address, 0, family):
            return address
    raise ServerError(
        f"The server can not listen at '{host}' ({', '.join(found)}), which is not this machine "
        f"({socket.gethostname()}); give one of its own names or addresses, or 'auto'."
    )


def best_address() -> str:
    """The address by which compute nodes most likely reach this machine. Raises ServerError."""
    import psutil  # here, because most commands start nothing and this takes time

    found = [
        (name, one.address)
        for name, addresses in psutil.net_if_addrs().items()
        for one in addresses
        if one.family == socket.AF_INET
    ]
    ranked = ranking(found)
    for address in ranked:
        if _binds(address, 0, socket.AF_INET):
            return address
    raise ServerError(
        "This machine has no address that other machines could reach; say which with '--listen "
        "ADDRESS', or start the server without --listen."
    )


def ranking(interfaces: Iterable[tuple[str, str]]) -> list[str]:
    """IPv4 addresses of named interfaces, the likeliest to be reached by compute nodes first.

    The network of the nodes by its interface's name, then private networks, then public ones;
    loopback and networks that end in this machine are left out.
    """

    def rank(one: tuple[str, str]) -> tuple[bool, bool, str]:
        name, address = one
        private = ipaddress.ip_address(address).is_private
        return not name.startswith(_NETWORKS_OF_NODES), not private, name

    usable = [
        (name, address)
        for name, address in interfaces
        if not name.startswith(_VIRTUAL)
        and not ipaddress.ip_address(address).is_loopback
        and not ipaddress.ip_address(address).is_link_local
    ]
    return [address for _, address in sorted(usable, key=rank)]


def choose_port(bind: str, asked: int, project: Project) -> int:
    """The port to listen at: the one asked for, or the project's usual one, or a free one.

    Raises ServerError if the one asked for is taken, InvalidValue if it is no port.
    """
    if asked:
        if not 1024 <= asked <= 65535:
            raise InvalidValue(f"The port {asked} is not from 1024 to 65535; give another.")
        if bind and not _free(bind, asked):
            raise ServerError(
                f"The port {asked} is taken by another program; give another with --port, or none "
                "for one that is free."
            )
        return asked
    if not bind:
        return SOCKET_PORT
    usual = _PORTS[int(project.id[:12], 16) % len(_PORTS)]
    tried = [usual, *(secrets.choice(_PORTS) for _ in range(100))]
    for port in tried:
        if _free(bind, port):
            return port
    raise ServerError("No port from 20000 to 31999 is free; give one with --port.")


def _free(bind: str, port: int) -> bool:
    if bind == "*":
        return _binds("0.0.0.0", port, socket.AF_INET)
    return _binds(bind, port, socket.AF_INET6 if ":" in bind else socket.AF_INET)


def _binds(address: str, port: int, family: int) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind((address, port))
            one.listen(1)
    except OSError:
        return False
    return True


def socket_dir(project: Project, port: int) -> str:
    """The directory for the socket: ``""`` for the database directory, or a private short one.

    Elsewhere than beside the database only if its path is too long for a socket, or its file system
    takes none. Raises ServerError.
    """
    if fits(project.database_dir, port) and _takes_sockets(project.database_dir):
        return ""
    tag = hashlib.sha256(f"{project.id}:{project.path}".encode()).hexdigest()[:12]
    reasons = []
    for place in ("/tmp", os.environ.get("XDG_RUNTIME_DIR", "")):
        directory = Path(place, f"balsam-{os.geteuid()}-{tag}")
        if not place or not fits(directory, port):
            continue
        try:
            _make_private(directory, project.database_dir.stat().st_uid)
            return str(directory)
        except OSError as error:
            reasons.append(f"{directory}: {error.strerror}")
    raise ServerError(
        f"The server of {project.path} has no place for its socket: the path is too long or its "
        f"file system takes none, and elsewhere it fails ({'; '.join(reasons)}); move the project "
        "to a shorter path, or set XDG_RUNTIME_DIR to a directory of yours."
    )


def answers(project: Project, told: Record | None, seconds: float = ANSWER_SECONDS) -> bool:
    """Whether a server answers at its socket at all; True if there is no saying.

    Even one that is only starting answers the question for encryption, one that is dying does not.
    """
    if told is None:
        return True
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(seconds)
            line.connect(str(told.socket(project) / f".s.PGSQL.{told.port}"))
            line.sendall(_SSL_REQUEST)
            return bool(line.recv(1))
    except (FileNotFoundError, ConnectionError):
        return False
    except OSError:
        return True


def forget_socket_dir(directory: str) -> None:
    """Remove a private directory that nothing uses any more."""
    if directory:
        with contextlib.suppress(OSError):
            os.rmdir(directory)


def fits(directory: Path, port: int) -> bool:
    """Whether clients can name a socket there: not too long, and without their separator."""
    name = os.fsencode(directory / f".s.PGSQL.{port}")
    return len(name) < _SUN_PATH and b"," not in name


def _takes_sockets(directory: Path) -> bool:
    name = directory / f".s.{secrets.token_hex(3)}"
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(name))
        name.unlink()
    except OSError:
        return False
    return True


def _make_private(directory: Path, owner: int) -> None:
    """Make a directory that only one user enters, or take one that is. Raises OSError."""
    try:
        directory.mkdir(0o700)
        if owner != os.geteuid():
            os.chown(directory, owner, -1)
    except FileExistsError:
        if not is_private(directory, owner):
            raise PermissionError(1, "it is somebody else's, or open to others") from None


def is_private(directory: Path, owner: int) -> bool:
    """Whether it is a directory (no link) of that user, and of nobody else."""
    try:
        status = directory.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == owner and not status.st_mode & 0o077
