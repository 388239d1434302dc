"""Names in the data directory: work directories, and the files Balsam itself puts into them."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

from balsam.errors import InvalidValue

#: Longest component made here, in bytes of UTF-8. File systems allow 255; the rest is room for
#: ``_<short id>`` and ``.out.<N>``.
MAX_COMPONENT_BYTES = 200

_UNSAFE = re.compile(r"[^\w.+=@,-]")
#: Most names need no change.
_SAFE = re.compile(rf"[\w+=@,][\w.+=@,-]{{0,{MAX_COMPONENT_BYTES - 1}}}", re.ASCII)


def safe_component(text: str, fallback: str) -> str:
    """``text`` as one component of a path, or ``fallback`` (made safe too) if it is blank.

    Letters and digits of any script and ``._+=@,-`` stay, all else becomes ``_``. The result is
    never empty, ``.`` or ``..``, never begins with ``-`` or ``.``, and has at most
    ``MAX_COMPONENT_BYTES`` bytes. Different texts may give the same component.
    """
    return _cleaned(text) or _cleaned(fallback) or "_"


def _cleaned(text: str) -> str:
    if _SAFE.fullmatch(text):
        return text
    composed = unicodedata.normalize("NFC", text.strip())
    safe = _UNSAFE.sub("_", composed)
    if safe.startswith(("-", ".")):
        safe = "_" + safe[1:]
    return safe.encode()[:MAX_COMPONENT_BYTES].decode(errors="ignore")


def relative_workdir(workflow: str, name: str, short_id: str) -> str:
    """``<workflow>/<name>_<short id>``, without the first level if ``workflow`` is blank."""
    leaf = f"{safe_component(name, 'job')}_{safe_component(short_id, '0')}"
    if not workflow.strip():
        return leaf
    return f"{safe_component(workflow, 'workflow')}/{leaf}"


def resolve(data_dir: str | os.PathLike[str], relative: str) -> Path:
    """The path of ``relative`` below ``data_dir``; nothing is read from the file system.

    :raises InvalidValue: if it is empty, absolute, or holds ``..`` or a NUL.
    """
    return Path(resolve_text(os.fspath(data_dir), relative))


def resolve_text(data_dir: str, relative: str) -> str:
    """:func:`resolve` for those who want text."""
    parts = [part for part in relative.split("/") if part not in ("", ".")]
    if not parts or relative.startswith("/") or ".." in parts or "\0" in relative:
        raise InvalidValue(
            f"the work directory '{relative}' does not lie inside '{data_dir}';"
            " give a relative path without '..'"
        )
    return "/".join((data_dir.rstrip("/"), *parts))


def output_name(name: str) -> str:
    """The stem of the file that takes a job's output, ``<stem>.out``."""
    return safe_component(name, "job")


def own_files(name: str) -> re.Pattern[str]:
    """What matches (``fullmatch``) the output and log files Balsam writes for a job ``name``."""
    stem = re.escape(output_name(name))
    return re.compile(rf"(?:{stem}\.out|(?:preprocess|postprocess|stage)\.log)(?:\.\d+)?")


def keep_earlier(path: Path, attempt: int = 1) -> Path | None:
    """Move an existing output aside to the first free ``<path>.<N>``, counting from ``attempt``.

    ``attempt`` is the number of the attempt that wrote it. Returns the new path, or None if there
    was nothing to keep. A link is moved itself; what it points to is not touched.
    """
    if not os.path.lexists(path):
        return None
    number = max(1, attempt)
    while os.path.lexists(f"{path}.{number}"):
        number += 1
    kept = Path(f"{path}.{number}")
    os.rename(path, kept)
    return kept
