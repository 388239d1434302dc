"""The staging steps: make a work directory, bring files into it, take results out of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from balsam.errors import TransferError
from balsam.outcomes import Outcome
from balsam.platform import process, transfer, workdirs
from balsam.transitions.spec import STAGE_IN, STAGE_OUT, ParentFiles, StepSpec

_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_LONGEST_NAME = 255


class NoSpace(TransferError):
    """The disk of the project is full, or over a quota: that is no fault of the job."""


def work_directory(spec: StepSpec) -> Path:
    """The absolute work directory of the job.

    :raises InvalidValue: if a relative one would lie outside the data directory.
    """
    if os.path.isabs(spec.workdir):
        return Path(spec.workdir)
    return workdirs.resolve(spec.data_dir, spec.workdir)


def made_work_directory(spec: StepSpec) -> Path:
    """The absolute work directory of the job, which is there when this returns.

    :raises InvalidValue: if a relative one would lie outside the data directory.
    :raises TransferError: if it can not be made.
    """
    workdir = work_directory(spec)
    make_directory(spec, workdir)
    return workdir


def make_directory(spec: StepSpec, path: Path) -> None:
    """Have a work directory of the job be there.

    :raises TransferError: if it can not be made.
    """
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise refused(spec, path, f"can not make the work directory '{path}'", error) from error


def refused(spec: StepSpec, path: Path, what: str, error: OSError) -> TransferError:
    """What to raise where a path can not be made or written."""
    ours = Path(spec.data_dir) in path.parents
    kind = NoSpace if ours and error.errno in process.FULL else TransferError
    return kind(f"{what}: {error.strerror}")


def stage_in(spec: StepSpec) -> Outcome:
    """Make the work directory, copy ``url`` into it and link the parents' files.

    Done again after an interruption, it changes nothing that is right already. What is copied in
    keeps its name; a parent's file of the same name is linked under another.

    :raises TransferError: naming what could not be made, copied or linked.
    """
    workdir = made_work_directory(spec)
    notes = []
    if spec.url.strip():
        notes.append(_counted(len(transfer.copy_in(spec.url, workdir)), "copied in"))
    if spec.parents and spec.input_files.strip():
        linked, skipped = link_parents(spec, workdir)
        notes.append(_counted(linked, "linked from parents"))
        notes += skipped
    return Outcome(spec.done_state, "; ".join(notes))


def stage_out(spec: StepSpec) -> Outcome:
    """Copy what matches ``files`` in the work directory to ``url``.

    :raises TransferError: naming what could not be copied.
    """
    if not spec.url.strip() or not spec.files.strip():
        return Outcome(spec.done_state)
    copied = transfer.copy_out(work_directory(spec), spec.files, spec.url)
    if not copied:
        return Outcome(spec.done_state, f"nothing matched '{spec.files}', so nothing to stage out")
    return Outcome(spec.done_state, _counted(len(copied), f"copied to {spec.url}"))


def link_parents(spec: StepSpec, workdir: Path) -> tuple[int, list[str]]:
    """Link what matches ``input_files`` in the parents' directories into ``workdir``.

    A link inside the data directory is relative, so that it holds after the project was moved.
    Returns the number of files that are linked now and a note on each that could not be, because
    both its names are taken.

    :raises TransferError: naming the link that could not be made.
    """
    reserved = _own_names(workdir)
    data, here = Path(os.path.realpath(spec.data_dir)), Path(os.path.realpath(workdir))
    linked, notes = 0, []
    for parent in spec.parents:
        directory = _parent_directory(spec, parent)
        for name in _offered(parent, directory, spec.input_files):
            target = os.path.realpath(directory / name)
            if not os.path.exists(target):
                continue
            plain = os.path.basename(name)
            names = (plain, clashing_name(plain, parent.short_id))
            if _link(target, here, names, reserved, data):
                linked += 1
            else:
                notes.append(f"{name} of parent {parent.short_id} not linked: the name is taken")
    return linked, notes


def clashing_name(name: str, short_id: str) -> str:
    """``name`` with ``short_id`` before its suffix, so that globs on either end still match."""
    stem, suffix = os.path.splitext(name)
    if suffix in _COMPRESSED:
        stem, inner = os.path.splitext(stem)
        suffix = inner + suffix
    room = _LONGEST_NAME - len(os.fsencode(f"_{short_id}{suffix}"))
    if room < 1:
        stem, suffix, room = name, "", _LONGEST_NAME - len(os.fsencode(f"_{short_id}"))
    if len(os.fsencode(stem)) > room:
        stem = os.fsencode(stem)[:room].decode(errors="ignore")
    return f"{stem}_{short_id}{suffix}"


def _parent_directory(spec: StepSpec, parent: ParentFiles) -> Path:
    if os.path.isabs(parent.workdir):
        return Path(parent.workdir)
    return workdirs.resolve(spec.data_dir, parent.workdir)


def _offered(parent: ParentFiles, directory: Path, patterns: str) -> list[str]:
    """The names in a parent's directory that a child may ask for."""
    own = workdirs.own_files(parent.name)
    return [
        name
        for name in transfer.find(directory, patterns)
        if not os.path.basename(name).startswith(".") and not own.fullmatch(name)
    ]


def _own_names(workdir: Path) -> Callable[[str], object]:
    """Whether the job itself will write a file of a name; a link there would be in its way."""
    stem, _, _ = workdir.name.rpartition("_")
    return workdirs.own_files(stem or workdir.name).fullmatch


def _as_seen(here: Path, target: str, data: Path) -> str:
    """A real path as a link in the directory ``here`` names it: relative, if both are in ``data``.

    All are real paths: a link is followed from the directory that it really lies in.
    """
    inside = here.is_relative_to(data) and Path(target).is_relative_to(data)
    return os.path.relpath(target, here) if inside else target


def _link(
    target: str, here: Path, names: Sequence[str], reserved: Callable[[str], object], data: Path
) -> bool:
    """Link a real path under the first of some names that is free; whether one is, or was."""
    for candidate in names:
        path = here / candidate
        if os.path.realpath(path) == target:
            return True
        if reserved(candidate) or os.path.lexists(path):
            continue
        try:
            os.symlink(_as_seen(here, target, data), path)
        except OSError as error:
            raise TransferError(f"can not link '{path}' to '{target}': {error.strerror}") from error
        return True
    return False


def _counted(number: int, what: str) -> str:
    return f"{number} {'file' if number == 1 else 'files'} {what}"


#: The staging steps by kind.
STEPS: dict[str, Callable[[StepSpec], Outcome]] = {STAGE_IN: stage_in, STAGE_OUT: stage_out}
