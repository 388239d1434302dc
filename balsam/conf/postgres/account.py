"""Who a project's Postgres server runs as: Postgres refuses to run as root."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
from dataclasses import dataclass
from pathlib import Path

from balsam.errors import LaunchError, ServerError
from balsam.platform import commands

_TIMEOUT_SECONDS = 20.0
#: Users of a system that may stand in for root.
_STAND_INS = ("postgres", "nobody")


@dataclass(frozen=True)
class Account:
    """How to run a program of the server: the words to put before it.

    ``owner`` is (user id, group id) that its files have to belong to, or None: as they are.
    """

    prefix: tuple[str, ...] = ()
    owner: tuple[int, int] | None = None

    def give(self, *paths: Path) -> None:
        """Let files belong to the account."""
        for path in paths:
            if self.owner is not None:
                os.chown(path, *self.owner)


def find(directory: Path) -> Account:
    """The account for a server whose files are in ``directory`` (of this user, or made by root).

    An ordinary user runs the server as himself. Root runs it as the user whom the directory belongs
    to; if that is root, in a user namespace in which root has another number, which leaves
    the files root's; or else as an ordinary user of the system. Raises ServerError.
    """
    me, owner = os.geteuid(), directory.stat().st_uid
    if me != 0:
        if owner != me:
            raise ServerError(
                f"The database in {directory} belongs to {name_of(owner)}, and only they can start "
                "or stop its server: ask them to, or to give you an account with 'balsam server "
                "--add-user'."
            )
        return Account()
    candidates = [_as_user(owner)] if owner != 0 else [_in_namespace(), *_as_stand_ins()]
    for account in candidates:
        if account is not None and _works(account, directory):
            return account
    raise ServerError(
        f"Postgres does not run as root, and nobody else here can use {directory} (a user "
        "namespace is refused, and setpriv to another user fails): run Balsam as an ordinary user, "
        "or allow user namespaces in this container."
    )


def keep_owner(path: Path) -> None:
    """Let a new file belong to whom its directory belongs, where root has made it."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def may_act(directory: Path) -> bool:
    """Whether this user may start and stop the server whose files are in ``directory``."""
    return os.geteuid() in (0, directory.stat().st_uid)


def name_of(uid: int) -> str:
    """The name of a user, or the number of one without a name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _in_namespace() -> Account | None:
    """Root under another number. initdb wants that to be the number of a user with a name."""
    user = _ordinary_user()
    if user is None or shutil.which("unshare") is None:
        return None
    uid, gid = user
    return Account(("unshare", "--user", f"--map-user={uid}", f"--map-group={gid}"))


def _ordinary_user() -> tuple[int, int] | None:
    with contextlib.suppress(KeyError):
        nobody = pwd.getpwnam("nobody")
        return nobody.pw_uid, nobody.pw_gid
    return next(((one.pw_uid, one.pw_gid) for one in pwd.getpwall() if one.pw_uid != 0), None)


def _as_user(uid: int) -> Account | None:
    try:
        gid = pwd.getpwuid(uid).pw_gid
    except KeyError:
        return None
    if shutil.which("setpriv") is None:
        return None
    words = ("setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups")
    return Account(words, (uid, gid))


def _as_stand_ins() -> list[Account | None]:
    known = {one.pw_name: one.pw_uid for one in pwd.getpwall()}
    return [_as_user(known[name]) for name in _STAND_INS if name in known]


def _works(account: Account, directory: Path) -> bool:
    """Whether a program of that account runs, and can write in the directory."""
    before = directory.stat()
    try:
        account.give(directory)
        told = commands.run([*account.prefix, "test", "-w", str(directory)], _TIMEOUT_SECONDS)
    except (LaunchError, OSError):
        works = False
    else:
        works = told.returncode == 0
    if not works and account.owner is not None:
        with contextlib.suppress(OSError):
            os.chown(directory, before.st_uid, before.st_gid)
    return works
