"""Tasks sent to a node ahead of time: each begins there when one that asks for as much has ended.

A chain is one share of a node and the tasks that will hold it, one after the other.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(eq=False, slots=True)
class _Chain:
    shape: Hashable
    jobs: list[int]


class Chains:
    """Who follows whom, by what they ask for (any hashable ``shape``).

    Nobody follows most tasks, so those have no chain of their own but stand for it: there are as
    many of them as run.
    """

    def __init__(self) -> None:
        #: By job its chain, or the shape of a job that nobody follows.
        self._of: dict[int, Hashable | _Chain] = {}
        #: Chains, or jobs that nobody follows: by shape, then by how many tasks, oldest first.
        self._by_length: dict[Hashable, dict[int, dict[int | _Chain, None]]] = {}

    def begin(self, job: int, shape: Hashable) -> None:
        """A task got a share of its own."""
        self._of[job] = shape
        self._file(job, shape, 1)

    def append(self, job: int, shape: Hashable, longest: int) -> int | None:
        """Put a task behind the shortest queue for such a share; the task it will follow.

        None if every chain of that shape has ``longest`` tasks already.
        """
        lengths = self._by_length.get(shape, {})
        length = min(lengths, default=longest)
        if length >= longest:
            return None
        found = next(iter(lengths[length]))
        self._unfile(found, shape, length)
        chain = found if isinstance(found, _Chain) else _Chain(shape, [found])
        before = chain.jobs[-1]
        chain.jobs.append(job)
        self._of[before] = self._of[job] = chain
        self._file(chain, shape, length + 1)
        return before

    def room(self, longest: int) -> int:
        """How many more tasks like those that run would still be taken."""
        return sum(
            (longest - length) * len(chains)
            for lengths in self._by_length.values()
            for length, chains in lengths.items()
            if length < longest
        )

    def leave(self, job: int) -> bool:
        """A task ended, or will not begin; whether nobody holds or awaits its share any more."""
        chain = self._of.pop(job)
        if not isinstance(chain, _Chain):
            self._unfile(job, chain, 1)
            return True
        jobs = chain.jobs
        self._unfile(chain, chain.shape, len(jobs))
        jobs.remove(job)
        if len(jobs) > 1:
            self._file(chain, chain.shape, len(jobs))
        else:
            self.begin(jobs[0], chain.shape)
        return False

    def __contains__(self, job: int) -> bool:
        return job in self._of

    def _file(self, chain: int | _Chain, shape: Hashable, length: int) -> None:
        self._by_length.setdefault(shape, {}).setdefault(length, {})[chain] = None

    def _unfile(self, chain: int | _Chain, shape: Hashable, length: int) -> None:
        lengths = self._by_length[shape]
        chains = lengths[length]
        del chains[chain]
        if not chains:
            del lengths[length]
        if not lengths:
            del self._by_length[shape]
