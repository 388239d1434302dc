"""Whether the ranks that an mpirun has on this node use the CPUs that they were given."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from balsam.launcher.ensemble.protocol import RUN_MARK, Confinement
from balsam.platform import affinity, process
from balsam.platform.shape import siblings

#: Looks are taken together, this far apart: each goes through all processes of the node.
PAUSE_SECONDS = 1.0
#: How often to look in vain: nobody here knows when an mpirun comes to its ranks, or that it has
#: ended. After the first looks the pause is doubled each time; the last is after two minutes.
LOOKS, EARLY = 12, 5
#: What is found in two looks, one after the other, is so.
RIGHT, WRONG = "right", "wrong"


@dataclass
class _Awaited:
    """An attempt whose ranks have not all been seen."""

    confinement: Confinement
    due: float
    pause: float = PAUSE_SECONDS
    looks: int = 0
    #: What was found last: "" as long as ranks are missing. They may have been on their way.
    before: str = ""


class Ranks:
    """Attempts, by token, whose ranks are looked for until all were seen where they should be."""

    def __init__(self) -> None:
        self._awaited: dict[str, _Awaited] = {}
        self._earliest = 0.0

    def check(self, token: str, confinement: Confinement) -> None:
        """Look for the ranks of an attempt in a moment."""
        due = time.monotonic() + affinity.SETTLED_SECONDS
        self._awaited[token] = _Awaited(confinement, due)

    @property
    def deadline(self) -> float | None:
        """When (monotonic) to :meth:`look`."""
        if not self._awaited:
            return None
        return max(self._earliest, min(one.due for one in self._awaited.values()))

    def look(self, now: float) -> Iterator[tuple[str, str]]:
        """The tokens of attempts that use other CPUs, each with what is wrong in a sentence."""
        if self.deadline is None or now < self.deadline:
            return
        self._earliest = now + PAUSE_SECONDS
        due = {token: one for token, one in self._awaited.items() if one.due <= now}
        found = _ranks({one.confinement.mark: one.confinement for one in due.values()})
        for token, one in due.items():
            seen = found[one.confinement.mark]
            wrong = _wrong(one.confinement, seen)
            verdict = WRONG if wrong else RIGHT if len(seen) >= one.confinement.ranks else ""
            if wrong and one.before == WRONG:
                yield token, wrong
            one.looks += 1
            if (verdict and verdict == one.before) or one.looks >= LOOKS:
                del self._awaited[token]
                continue
            one.before = verdict
            one.due = now + (PAUSE_SECONDS if verdict else one.pause)
            if one.looks >= EARLY:
                one.pause *= 2


def _ranks(wanted: Mapping[str, Confinement]) -> dict[str, dict[bytes, list[int]]]:
    """The processes of each rank of some attempts, by the attempts' marks."""
    signs = {f"{RUN_MARK}={mark}".encode(): mark for mark in wanted}
    found: dict[str, dict[bytes, list[int]]] = {mark: {} for mark in wanted}
    for pid, variables in process.environments():
        for mark in (signs[text] for text in variables if text in signs):
            name = f"{wanted[mark].variable}=".encode()
            for rank in (text for text in variables if text.startswith(name)):
                found[mark].setdefault(rank, []).append(pid)
    return found


def _wrong(confinement: Confinement, ranks: Mapping[bytes, list[int]]) -> str:
    """What is wrong with the CPUs that ranks may use, as a sentence; '' if nothing is."""
    if not ranks:
        return ""
    cores, used = set(confinement.cpus), set[int]()
    for pid in chain.from_iterable(ranks.values()):
        allowed = affinity.confined_to(pid) or frozenset()
        if cores and not allowed <= cores:
            # An MPI binds to cores where Balsam counts their threads.
            cores = cores.union(*map(siblings, cores))
            if not allowed <= cores:
                return affinity.astray(confinement.cpus, allowed)
        used |= allowed
    enough = min(confinement.ranks, confinement.different, len(os.sched_getaffinity(0)))
    if used and len(ranks) >= confinement.ranks and len(used) < enough:
        theirs = affinity.spelled(used)
        return (
            f"Its {len(ranks)} ranks on a node share the CPUs {theirs}; they were given {enough}."
        )
    return ""
