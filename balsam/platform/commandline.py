"""The command line of a user's program: its words, its envscript, and why it can not be run.

Nothing here is given to a shell, but for the envscript, which one has to read.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from balsam.errors import ProgramMissing

#: Reads the envscript ($0) and becomes the program, whatever the script's last command came to.
_SOURCE_FIRST = '. "$0"; exec "$@"'
#: What may make a difference between words and what is between spaces.
QUOTING = re.compile(r"""["'\\]""")
#: What a system call says when a program is not there, or is nothing that can be run.
UNRUNNABLE = frozenset(
    (errno.ENOENT, errno.EACCES, errno.ENOTDIR, errno.ENOEXEC, errno.ELOOP, errno.EISDIR)
)


def split(text: str, what: str) -> list[str]:
    """The words of ``text``, quotes taken into account. Raises ProgramMissing, naming ``what``."""
    if not QUOTING.search(text):
        return text.split()
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ProgramMissing(
            f"{what[:1].upper()}{what[1:]} can not be split into words ({error}): {text}"
        ) from error


def words(
    command: tuple[str, str], *more: tuple[str, str], empty: str = "The command is empty."
) -> list[str]:
    """The argument list of (what it is, text) after one another, ``~`` expanded in each word.

    Raises ProgramMissing, with the sentence ``empty`` if ``command`` has no word: what follows on
    it is never a program.
    """
    what, text = command
    found = split(text, what)
    if not found:
        raise ProgramMissing(empty)
    found += [word for what, text in more for word in split(text, what)]
    return [os.path.expanduser(word) if word.startswith("~") else word for word in found]


@dataclass(frozen=True)
class Programs:
    """Where programs are. A bare name is looked up once for each PATH."""

    _known: dict[tuple[str, str], str] = field(default_factory=dict)

    def ready(
        self, argv: Sequence[str], cwd: str, env: Mapping[str, str], envscript: str = ""
    ) -> list[str]:
        """``argv`` with its program found, to be run in ``cwd`` with ``env``.

        With an ``envscript`` the program is found by the shell, for the script may change PATH.
        Raises ProgramMissing for a program or a script that is not there, or can not be used.
        """
        if envscript:
            script = readable(os.path.expanduser(envscript), cwd, env)
            return ["/bin/sh", "-c", _SOURCE_FIRST, script, *argv]
        return [self.find(argv[0], cwd, env), *argv[1:]]

    def find(self, program: str, cwd: str, env: Mapping[str, str]) -> str:
        """The path of a program; one with a directory is looked at, and stays as it is."""
        if os.sep not in program:
            path = env.get("PATH", os.defpath)
            known = self._known.get((program, path))
            if known is None:
                known = self._known[program, path] = find_program(program, env)
            return known
        full = os.path.join(cwd, program)
        if os.path.isdir(full) or not os.access(full, os.X_OK):
            raise ProgramMissing(f"The program '{program}' can not be run: {trouble(full)}.")
        return program


def find_program(program: str, environ: Mapping[str, str]) -> str:
    """The path of a program named without a directory, looked up in ``environ``'s PATH.

    A name with a directory is returned as it is. Raises ProgramMissing.
    """
    if os.sep in program:
        return program
    found = shutil.which(program, path=environ.get("PATH", os.defpath))
    if found is None:
        raise ProgramMissing(
            f"The program '{program}' is not in any directory of PATH, or not executable."
        )
    return found


def readable(script: str, cwd: str, env: Mapping[str, str]) -> str:
    """The full path of an envscript, in ``cwd`` or, for a bare name, on PATH.

    Raises ProgramMissing for one that a shell could not read.
    """
    places = [cwd]
    if os.sep not in script:
        places += env.get("PATH", os.defpath).split(os.pathsep)
    paths = [os.path.abspath(os.path.join(place, script)) for place in places]
    for path in paths:
        if os.path.isfile(path) and os.access(path, os.R_OK):
            return path
    if os.path.isdir(paths[0]):
        reason = "it is a directory"
    else:
        reason = "it may not be read" if os.path.exists(paths[0]) else "it is not there"
    raise ProgramMissing(f"The envscript '{script}' can not be used: {reason}.")


def trouble(path: str) -> str:
    """Why the file at ``path`` can not be run, '' if nothing speaks against it."""
    if not os.path.exists(path):
        return "it is a link that leads nowhere" if os.path.islink(path) else "it is not there"
    if os.path.isdir(path):
        return "it is a directory"
    if not os.access(path, os.X_OK):
        return f"it is not executable (chmod +x {shlex.quote(path)})"
    return _first_line_trouble(path)


def refusal(path: str, error: OSError) -> str:
    """Why the system would not run ``path``, in better words than its own where there are any."""
    found = trouble(path)
    if found:
        return found
    if error.errno == errno.ENOEXEC:
        return "it was made for another kind of machine"
    return error.strerror or str(error)


def _first_line_trouble(path: str) -> str:
    try:
        with open(path, "rb") as file:
            head = file.read(256)
    except OSError:
        return ""
    if not head.startswith(b"#!"):
        # Other programs than ELF ones may be known to the kernel, but they are no text either.
        return "" if b"\0" in head else "its first line names no interpreter (#!)"
    line = head[2:].split(b"\n", 1)[0].strip(b" \t")
    name = os.fsdecode(re.split(rb"[ \t]", line)[0])
    if name and os.path.exists(name):
        return ""
    if name.endswith("\r"):
        return "its lines end in carriage returns, as on Windows (dos2unix removes them)"
    return f"the interpreter '{name}' that its first line names is not there"
