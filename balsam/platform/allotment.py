"""Which CPUs and GPUs of its nodes a process was given: what schedulers and masks tell."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from balsam.platform import components
from balsam.platform.time_left import LSF, PBS, SLURM

#: The variables that tell a process its GPUs, each with the words in it that mean none.
MASKS: Mapping[str, tuple[str, ...]] = {
    "CUDA_VISIBLE_DEVICES": ("", "-1", "NoDevFiles", "none", "void"),
    "ROCR_VISIBLE_DEVICES": ("-1",),
    "ZE_AFFINITY_MASK": ("-1",),
}
#: The word for none that each of them takes. Level Zero's specification has no such word, but its
#: driver passes over numbers that no GPU has (ExecutionEnvironment::parseAffinityMask), and takes
#: what is empty for all.
NO_GPU = "-1"


@dataclass(frozen=True)
class Gpus:
    """GPUs of this node by the ids that mask variables take; ``masks`` are those that told."""

    ids: tuple[str, ...]
    masks: tuple[str, ...] = ()


def gpus(scheduler: str, environ: Mapping[str, str]) -> Gpus | None:
    """The GPUs that this process may use; None where nobody tells.

    A mask that it inherited goes before what a scheduler says of its job: the ids in a mask are
    those that count here.
    """
    return _masked(environ) or (_of_slurm(environ) if scheduler == SLURM else None)


def cpus(scheduler: str, environ: Mapping[str, str], nodes: Sequence[str]) -> tuple[int, ...]:
    """CPUs of each of the nodes, as their scheduler counts them; () where it does not tell."""
    found: tuple[int, ...] = ()
    if scheduler == SLURM:
        # As in 16,8(x3).
        told = components.first(environ, "SLURM_JOB_CPUS_PER_NODE")
        found = tuple(_runs_of(told, len(nodes)))
    elif scheduler == LSF:
        slots = lsf_slots(environ)
        found = tuple(slots.get(node, 0) for node in nodes)
    elif scheduler == PBS:
        found = (_number(environ.get("PBS_NUM_PPN", "")),) * len(nodes)
    if scheduler != SLURM and min(found, default=0) <= 1:
        # One is what there is where nobody asked for any number.
        return ()
    return found if len(found) == len(nodes) and all(found) else ()


def lsf_slots(environ: Mapping[str, str]) -> dict[str, int]:
    """The slots of each host of an LSF batch job, in its order: ``a 1 b 40``; 0 for no number."""
    words = environ.get("LSB_MCPU_HOSTS", "").split()
    pairs = zip_longest(words[::2], words[1::2], fillvalue="")
    return {host: _number(slots) for host, slots in pairs}


def _masked(environ: Mapping[str, str]) -> Gpus | None:
    """What the first mask that is set says, and which others say the same."""
    told: dict[str, tuple[str, ...]] = {}
    for name, nothing in MASKS.items():
        text = environ.get(name)
        if text is None or (not text.strip() and "" not in nothing):
            continue
        ids = [word.strip() for word in text.split(",")]
        # Nothing counts from the first word on that is no GPU.
        end = next((place for place, word in enumerate(ids) if not word or word in nothing), None)
        told[name] = tuple(dict.fromkeys(ids[:end]))
    if not told:
        return None
    first = next((ids for ids in told.values() if ids), ())
    return Gpus(first, tuple(name for name, ids in told.items() if ids == first))


def _of_slurm(environ: Mapping[str, str]) -> Gpus | None:
    ids = [word.strip() for word in environ.get("SLURM_JOB_GPUS", "").split(",")]
    if all(word.isdecimal() for word in ids):
        return Gpus(tuple(dict.fromkeys(ids)))
    for name in ("SLURM_GPUS_ON_NODE", "SLURM_GPUS_PER_NODE"):
        # Numbers of several kinds: a100:2,v100:1.
        words = environ.get(name, "").split(",")
        numbers = [word.rpartition(":")[2].strip() for word in words]
        if all(number.isdecimal() and len(number) < 5 for number in numbers):
            return Gpus(tuple(str(gpu) for gpu in range(sum(map(int, numbers)))))
    return None


def _runs_of(text: str, most: int) -> Iterator[int]:
    for word in text.split(","):
        match = re.fullmatch(r"(\d{1,6})(?:\(x(\d{1,6})\))?", word.strip())
        if match is None:
            return
        yield from [int(match[1])] * min(int(match[2] or 1), most + 1)


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 7 else 0
