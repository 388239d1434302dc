"""Programs as people type them: the first word found where they stand, and made to last.

Jobs run in directories of their own, so a program named relative to the current directory is
stored with its full path, and a Python file with the interpreter that reads it.
"""

from __future__ import annotations

import io
import os
import shlex
import shutil
import sys

from balsam.errors import InvalidValue


def resolved_program(text: str, option: str) -> str:
    """``text`` with its first word ready to run from any directory.

    A ``.py`` file becomes ``<this Python> <full path>``; another existing file its full path,
    unless it is a bare name found on PATH. Raises InvalidValue for a ``.py`` file that is missing.
    """
    first, rest = _first_word(text, option)
    if first.endswith(".py"):
        path = os.path.abspath(os.path.expanduser(first))
        if not os.path.isfile(path):
            raise InvalidValue(f"{option}: there is no file {path}.")
        return f"{shlex.quote(sys.executable)} {shlex.quote(path)}{rest}"
    on_path = os.sep not in first and shutil.which(first)
    if os.path.isfile(first) and not on_path:
        return f"{shlex.quote(os.path.abspath(first))}{rest}"
    return text


def resolved_file(path: str) -> str:
    """The full path of an existing file, anything else as it is."""
    return os.path.abspath(path) if path and os.path.isfile(path) else path


def program_trouble(text: str) -> str:
    """Why the first word of ``text`` can not be run here now, in a clause; '' if it can."""
    from balsam.platform.commandline import trouble

    first, _ = _first_word(text, "program")
    if not first:
        return ""
    path = os.path.expanduser(first)
    found = path if os.sep in path else shutil.which(path)
    if found is None and not os.path.lexists(path):
        return f"'{first}' is neither a file here nor a program on PATH"
    reason = trouble(found or path)
    return f"'{first}' can not be run: {reason}" if reason else ""


def _first_word(text: str, option: str) -> tuple[str, str]:
    """The first word without its quotes, and all that follows as it was typed."""
    text = text.strip()
    if os.path.isfile(text):
        return text, ""
    stream = io.StringIO(text)
    lexer = shlex.shlex(stream, posix=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        first = lexer.get_token() or ""
    except ValueError as error:
        raise InvalidValue(f"{option}: the quotes in '{text}' do not match ({error}).") from None
    rest = text[stream.tell() :] if first else ""
    return first, f" {rest.strip()}" if rest.strip() else ""
