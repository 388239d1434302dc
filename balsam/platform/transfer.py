"""Copying files between a work directory and local paths, ``local:`` and ``file://`` URLs.

Every file arrives under a temporary name and is renamed when it is complete, so whoever is
interrupted leaves no half file under a final name. Metadata are kept as far as the file system
allows; links are followed, except those that lead nowhere or in circles, which stay links.
"""

from __future__ import annotations

import contextlib
import glob
import itertools
import os
import re
import shlex
import shutil
import stat
from collections.abc import Iterator, Sequence
from urllib.parse import unquote

from balsam.errors import TransferError

#: What a file is called while it is being copied. Hidden, so no glob without a dot finds it.
PARTIAL_PREFIX = ".balsam-part-"

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)
_SUPPORTED = "use an absolute path, local:/path or file:///path"


def local_path(source: str) -> str:
    """The absolute path that a path or URL stands for; glob characters stay.

    :raises TransferError: for a scheme or host Balsam can not reach, or a relative path.
    """
    scheme, rest = "", source
    match = _SCHEME.fullmatch(source)
    if match:
        scheme, rest = match[1].lower(), match[2]
        if scheme not in ("local", "file"):
            raise TransferError(f"'{source}': can not move files by '{scheme}'; {_SUPPORTED}")
        if rest.startswith("//"):
            host, slash, path = rest[2:].partition("/")
            if host not in ("", "localhost", os.uname().nodename):
                raise TransferError(f"'{source}': files on host '{host}' can not be reached")
            rest = slash + path
        if scheme == "file":
            rest = unquote(rest)
    path = os.path.expanduser(rest)
    if not os.path.isabs(path):
        raise TransferError(f"'{source}' is not an absolute path; {_SUPPORTED}")
    return path


def find(directory: str | os.PathLike[str], patterns: str) -> list[str]:
    """Names in ``directory`` that match any of the whitespace-separated, shell-quoted globs.

    Each name once, in the order of the patterns, sorted within one; relative to ``directory``.
    Dot-files are found only by a pattern that spells the dot. A directory that does not exist has
    no files.

    :raises TransferError: for an unbalanced quote or a pattern that leads out of the directory.
    """
    found: dict[str, None] = {}
    for pattern in split(patterns):
        if os.path.isabs(pattern) or ".." in pattern.split("/"):
            raise TransferError(f"the pattern '{pattern}' leads out of '{os.fspath(directory)}'")
        if os.path.lexists(os.path.join(directory, pattern)):
            found[os.path.normpath(pattern)] = None
            continue
        for name in sorted(glob.glob(pattern, root_dir=directory)):
            found[os.path.normpath(name)] = None
    return list(found)


def split(text: str) -> list[str]:
    """The words of a shell-quoted list of paths or globs.

    :raises TransferError: for an unbalanced quote.
    """
    try:
        return shlex.split(text)
    except ValueError as error:
        raise TransferError(f"can not read the file list {text!r}: {error}") from error


def copy_in(sources: str, directory: str | os.PathLike[str]) -> list[str]:
    """Copy what ``sources`` names into ``directory``; returns the names of the copies there.

    ``sources`` is a whitespace-separated, shell-quoted list of paths or URLs, globs allowed. Files
    and whole directories are copied under their own names; files there already are replaced.

    :raises TransferError: naming the source that does not exist or the file that can not be copied.
    """
    paths: list[str] = []
    for source in split(sources):
        path = local_path(source)
        matches = [path] if os.path.lexists(path) else sorted(glob.glob(path))
        if not any(os.path.exists(match) for match in matches):
            raise TransferError(f"stage-in source '{source}' does not exist")
        paths += matches
    _remove_partial(directory)
    return _copy_all(paths, os.fspath(directory), through_links=False)


def copy_out(workdir: str | os.PathLike[str], patterns: str, target: str) -> list[str]:
    """Copy what matches ``patterns`` in ``workdir`` to the directory ``target`` (path or URL).

    ``target`` is made if missing. Matched directories are copied whole; everything arrives under
    its base name. Returns the names of the copies; nothing matched is an empty list.

    :raises TransferError: naming the file that can not be copied.
    """
    directory = local_path(target)
    paths = [os.path.join(workdir, name) for name in find(workdir, patterns)]
    return _copy_all(paths, directory, through_links=True) if paths else []


def _copy_all(paths: Sequence[str], directory: str, *, through_links: bool) -> list[str]:
    chosen: dict[str, str] = {}
    for path in paths:
        name = os.path.basename(os.path.normpath(path))
        other = chosen.setdefault(name, path)
        if other != path:
            raise TransferError(f"'{other}' and '{path}' would both become '{directory}/{name}'")
    with _explained(f"can not make the directory '{directory}'"):
        os.makedirs(directory, exist_ok=True)
    for name, path in chosen.items():
        _copy(path, os.path.join(directory, name), through_links, above=())
    return list(chosen)


def _copy(source: str, target: str, through_links: bool, above: tuple[str, ...]) -> None:
    """Copy one file or tree; ``above`` are the real paths of the directories being copied."""
    with _explained(f"can not copy '{source}' to '{target}'"):
        link = os.path.islink(source)
        real = os.path.realpath(source)
        if link and (not os.path.exists(real) or any(_contains(real, path) for path in above)):
            _copy_link(source, target)
        elif os.path.isdir(real):
            _copy_tree(source, target, through_links, (*above, real))
        elif stat.S_ISREG(os.stat(real).st_mode):
            _copy_file(source, target)
        else:
            raise TransferError(f"can not copy '{source}': neither a file nor a directory")


def _contains(outer: str, inner: str) -> bool:
    return inner == outer or inner.startswith(outer.rstrip("/") + "/")


def _copy_tree(source: str, target: str, through_links: bool, above: tuple[str, ...]) -> None:
    outer, inner = above[-1], os.path.realpath(target)
    if outer == inner:
        return
    if _contains(outer, inner):
        raise TransferError(f"can not copy '{source}' into itself ('{target}')")
    if os.path.islink(target) and not through_links:
        os.unlink(target)
    os.makedirs(target, exist_ok=True)
    if not through_links:
        _remove_partial(target)
    if not os.access(target, os.W_OK | os.X_OK):
        os.chmod(target, 0o700)
    for name in sorted(os.listdir(source)):
        if not name.startswith(PARTIAL_PREFIX):
            _copy(os.path.join(source, name), os.path.join(target, name), through_links, above)
    with contextlib.suppress(OSError):
        shutil.copystat(source, target)


def _copy_file(source: str, target: str) -> None:
    if os.path.exists(target) and not os.path.islink(target) and os.path.samefile(source, target):
        return
    partial = _new_partial(os.path.dirname(target))
    try:
        shutil.copyfile(source, partial)
        with contextlib.suppress(OSError):
            shutil.copystat(source, partial)
        os.replace(partial, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(partial)
        raise


def _remove_partial(directory: str | os.PathLike[str]) -> None:
    """Remove what an interrupted copy left; only where no other job copies to."""
    for name in glob.glob(f"{PARTIAL_PREFIX}*", root_dir=directory):
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(directory, name))


def _new_partial(directory: str) -> str:
    for number in itertools.count():
        path = f"{directory}/{PARTIAL_PREFIX}{os.getpid()}-{number}"
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            return path
    raise AssertionError("unreachable")


def _copy_link(source: str, target: str) -> None:
    """Repeat a link that can not be followed, instead of what it points to."""
    if os.path.lexists(target):
        os.unlink(target)
    os.symlink(os.readlink(source), target)


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise TransferError(f"{what}: {reason}") from error
