"""What the databases' messages mean, and what is to be done about each: the one table of it."""

from __future__ import annotations

_DAMAGED = (
    "the file is damaged; 'balsam fsck' shows how, and 'balsam restore FILE' puts a backup in its "
    "place"
)
_FULL = "the disk is full or failing; free some space and run the command again"
_FORBIDDEN = (
    "you may not write there; check the permissions of the project and its balsamdb, that the file "
    "system is mounted for writing, and that the disk is not full"
)
_BUSY = "another process held it for too long; run the command again"

#: Part of a message -> the advice; the first that is found counts.
ADVICE = {
    "malformed": _DAMAGED,
    "not a database": _DAMAGED,
    "disk is full": _FULL,
    "I/O error": _FULL,
    "No space left": _FULL,
    "readonly": _FORBIDDEN,
    "read-only": _FORBIDDEN,
    "unable to open": (
        "check that the project directory still exists, that you may read and write it, and that "
        "its file system is mounted for writing"
    ),
    "locked": _BUSY,
    "lock timeout": _BUSY,
    "deadlock detected": _BUSY,
    "too many clients": "more processes than it serves are connected; run the command again",
    "remaining connection slots": (
        "more processes than it serves are connected; run the command again"
    ),
    "password authentication failed": (
        "the password is not the server's; mend the project's balsamdb/password, or "
        "database.password_file in settings.yml"
    ),
    "no password supplied": (
        "give the password in database.password_file of settings.yml, or in PGPASSFILE"
    ),
    "no such table": "the project is not finished or too old; run 'balsam init --upgrade'",
}
#: What a server says that will serve us later.
_CROWDED = (
    "too many clients",
    "remaining connection slots",
    "database system is starting up",
    "not yet accepting connections",
    "in recovery mode",
)


def advice(error: BaseException) -> str:
    """What to do about an error of the database driver; empty if the table does not know it."""
    text = str(error)
    return next((told for sign, told in ADVICE.items() if sign in text), "")


def says_full(error: BaseException) -> bool:
    """Whether the disk took nothing more."""
    return advice(error) == _FULL


def forbids_writing(error: BaseException) -> bool:
    """Whether reading may go on where this went wrong: no permission to write, or no room."""
    told = advice(error)
    return told in (_FULL, _FORBIDDEN) or "unable to open" in str(error)


def is_crowded(error: BaseException) -> bool:
    """Whether the server has no connection left, or is only starting: later it may."""
    text = str(error)
    return any(sign in text for sign in _CROWDED)
