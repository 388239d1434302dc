"""What this process was given, by which batch job, and until when: what schedulers tell."""

from __future__ import annotations

import re
import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from balsam.errors import AllocationError
from balsam.platform import allotment, components, nodelist, time_left
from balsam.platform.allotment import Gpus
from balsam.platform.time_left import COBALT, LSF, PBS, SLURM

__all__ = ["COBALT", "LSF", "PBS", "SLURM", "Allocation", "detect", "part", "scheduler_of"]

#: Hosts in an LSF node list that start jobs and run none.
_HELPERS = re.compile(r"(batch|launch|login)\d*([.-].*)?")


@dataclass(frozen=True)
class Allocation:
    """Nodes by name; the batch job that gave them, '' without; its end (epoch seconds), if known.

    ``scheduler`` is cobalt, pbs, slurm or lsf, '' outside of a batch job. ``cpus`` are those of
    each node as its scheduler counts them (cores, or hardware threads), () where it does not tell;
    ``gpus`` those of the node that this is, None where nobody tells. ``notice`` is what a person
    should know of nodes that are not among these, '' where there is nothing to say.
    """

    nodes: tuple[str, ...]
    scheduler: str = ""
    batch_id: str = ""
    ends: float | None = None
    cpus: tuple[int, ...] = ()
    gpus: Gpus | None = None
    notice: str = ""


def detect(environ: Mapping[str, str], now: float, *, ask: bool = True) -> Allocation:
    """What the environment of a batch job says, or this host where there is none.

    ``now`` is in epoch seconds. Where the environment does not tell the end, the scheduler is asked
    once (not without ``ask``); one that does not answer leaves it unknown. Raises AllocationError
    for a node list that can not be used.
    """
    scheduler = scheduler_of(environ)
    gpus = allotment.gpus(scheduler, environ)
    if not scheduler:
        return Allocation((socket.gethostname(),), gpus=gpus)
    nodes = tuple(dict.fromkeys(_NODES[scheduler](environ))) or (socket.gethostname(),)
    batch_id = _batch_id(scheduler, environ)
    ends = time_left.told(scheduler, environ, now)
    if ends is None and batch_id and ask:
        ends = time_left.asked(scheduler, batch_id, environ, now)
    cpus = allotment.cpus(scheduler, environ, nodes)
    notice = components.left_out(environ, nodes) if scheduler == SLURM else ""
    return Allocation(nodes, scheduler, batch_id, ends, cpus, gpus, notice)


def scheduler_of(environ: Mapping[str, str]) -> str:
    """Whose batch job this environment is of; '' outside of one."""
    for scheduler, names in _SIGNS.items():
        if any(environ.get(name) for name in names):
            return scheduler
    return ""


def part(nodes: Sequence[str], limit: int | None, offset: int) -> tuple[str, ...]:
    """At most ``limit`` nodes (None = all) after the first ``offset``.

    Raises AllocationError if that leaves none.
    """
    left = tuple(nodes[offset:])
    if not left:
        there = f"the only node of this allocation is {nodes[0]}"
        if len(nodes) != 1:
            there = f"this allocation has {len(nodes)} nodes"
        raise AllocationError(
            f"--offset-nodes {offset} leaves no node, for {there}; give at most {len(nodes) - 1}."
        )
    return left if limit is None else left[:limit]


def _batch_id(scheduler: str, environ: Mapping[str, str]) -> str:
    found = next((environ[name] for name in _IDS[scheduler] if environ.get(name)), "").strip()
    index = environ.get("LSB_JOBINDEX", "0") if scheduler == LSF else "0"
    return f"{found}[{index}]" if found and index.strip("0") else found


# -- nodes ------------------------------------------------------------------------------------


def _cobalt(environ: Mapping[str, str]) -> list[str]:
    partition = environ.get("COBALT_PARTNAME", "")
    if re.fullmatch(r"[\d,\s-]*\d[\d,\s-]*", partition):
        # Crays: numbers of nodes; elsewhere it holds names, and the node file the right ones.
        return _listed("COBALT_PARTNAME", partition, lambda: [
            f"nid{number:05d}" for number in dict.fromkeys(nodelist.numbers(partition))
        ])  # fmt: skip
    if environ.get("COBALT_NODEFILE"):
        return _file("COBALT_NODEFILE", environ["COBALT_NODEFILE"])
    if partition:
        return _names("COBALT_PARTNAME", partition)
    return []


def _pbs(environ: Mapping[str, str]) -> list[str]:
    path = environ.get("PBS_NODEFILE")
    return _file("PBS_NODEFILE", path) if path else []


def _slurm(environ: Mapping[str, str]) -> list[str]:
    for name in (components.NODES, "SLURM_NODELIST", "SLURM_HOSTS"):
        if environ.get(name, "").strip():
            return _names(name, environ[name])
    of_component = components.first(environ, components.NODES)
    if of_component:
        return _names(f"{components.NODES}_HET_GROUP_n", of_component)
    number = environ.get("SLURM_JOB_NUM_NODES", "").strip()
    if number not in ("", "0", "1"):
        raise AllocationError(
            f"SLURM_JOB_NUM_NODES is {number}, but there is no SLURM_JOB_NODELIST: set that to the "
            "nodes of this batch job, or unset SLURM_JOB_NUM_NODES to use this host alone."
        )
    return []


def _lsf(environ: Mapping[str, str]) -> list[str]:
    # All but LSB_MCPU_HOSTS name a host once for each of its slots.
    path = environ.get("LSB_DJOB_HOSTFILE")
    if path:
        return _workers(Counter(_file("LSB_DJOB_HOSTFILE", path)))
    if environ.get("LSB_MCPU_HOSTS", "").strip():
        return _workers(allotment.lsf_slots(environ))
    return _workers(Counter(environ.get("LSB_HOSTS", "").split()))


def _workers(slots: Mapping[str, int]) -> list[str]:
    """The hosts that run tasks; all of them where neither names nor slots tell of another."""
    every = list(slots)
    named = [host for host in every if not _HELPERS.fullmatch(host)]
    if named and len(named) < len(every):
        return named
    # A launch node of another name comes first and has one slot, compute nodes are given whole.
    of_others = {slots[host] for host in every[1:]}
    launch_node = len(of_others) == 1 and slots[every[0]] == 1 < min(of_others)
    return every[1:] if launch_node else every


def _file(name: str, path: str) -> list[str]:
    """The names in a node file, one word each, as often as they are there."""
    advice = f"run the launcher inside the batch job, or unset {name} to use this host alone"
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AllocationError(
            f"{name} names {path}, which can not be read ({reason}): {advice}."
        ) from error
    words = [word for line in text.splitlines() for word in line.partition("#")[0].split()]
    names = [name for word in words for name in word.split(",") if name]
    if not names:
        raise AllocationError(f"The node file {path} ({name}) names no node: {advice}.")
    return names


def _names(name: str, text: str) -> list[str]:
    """The names of a list in bracket form."""
    return _listed(name, text, lambda: nodelist.expand(text))


def _listed(name: str, text: str, read: Callable[[], list[str]]) -> list[str]:
    advice = f"set it to the nodes of this batch job, or unset {name} to use this host alone"
    try:
        found = read()
    except ValueError as error:
        raise AllocationError(f"{name} is no list of nodes ({error}): {advice}.") from error
    if not found:
        raise AllocationError(f"{name}='{text}' names no node: {advice}.")
    return found


_NODES: Mapping[str, Callable[[Mapping[str, str]], list[str]]] = {
    COBALT: _cobalt,
    PBS: _pbs,
    SLURM: _slurm,
    LSF: _lsf,
}
#: Where the id of a batch job is, in order.
_IDS: Mapping[str, tuple[str, ...]] = {
    COBALT: ("COBALT_JOBID",),
    PBS: ("PBS_JOBID",),
    SLURM: ("SLURM_JOB_ID", "SLURM_JOBID"),
    LSF: ("LSB_JOBID",),
}
#: Any of these in the environment means a batch job of that scheduler, the first that has one.
#: Slurm goes before PBS: its plugin for scripts of PBS (spank_pbs) sets PBS_JOBID but no node file,
#: and users set such a file for programs of theirs. PBS sets nothing of Slurm's.
_SIGNS: Mapping[str, tuple[str, ...]] = {
    COBALT: ("COBALT_JOBID", "COBALT_NODEFILE", "COBALT_PARTNAME"),
    SLURM: ("SLURM_JOB_ID", "SLURM_JOBID", "SLURM_JOB_NODELIST", "SLURM_NODELIST", "SLURM_HOSTS"),
    PBS: ("PBS_NODEFILE", "PBS_JOBID"),
    LSF: ("LSB_JOBID", "LSB_DJOB_HOSTFILE", "LSB_MCPU_HOSTS"),
}
