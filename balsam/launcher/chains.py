"""Tasks sent to a node ahead of time: each begins there when one that asks for as much has ended.

A chain is one share of a node and the tasks that will hold it, one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
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
        #: Those of them that take nobody for now: they are not in there.
        self._shut: set[int | _Chain] = set()

    def begin(self, job: int, shape: Hashable) -> None:
        """A task got a share of its own."""
        self._of[job] = shape
        self._file(job, shape, 1)

    def shortest(self, shape: Hashable, longest: int) -> tuple[int, int] | None:
        """The first and the last task of the shortest queue for such a share, the oldest of these.

        None if every chain of that shape has ``longest`` tasks already.
        """
        lengths = self._by_length.get(shape, {})
        length = min(lengths, default=longest)
        if length >= longest:
            return None
        found = next(iter(lengths[length]))
        return (found.jobs[0], found.jobs[-1]) if isinstance(found, _Chain) else (found, found)

    def append(self, job: int, before: int) -> None:
        """Put a task behind ``before``, the last of its queue."""
        found = self._of[before]
        if isinstance(found, _Chain):
            chain = found
            self._unfile(chain, chain.shape, len(chain.jobs))
        else:
            chain = _Chain(found, [before])
            self._unfile(before, found, 1)
        chain.jobs.append(job)
        self._of[before] = self._of[job] = chain
        self._file(chain, chain.shape, len(chain.jobs))

    def shut(self, job: int) -> None:
        """Let nobody follow in the queue of this task until one of it has left."""
        found = self._of[job]
        if isinstance(found, _Chain):
            self._unfile(found, found.shape, len(found.jobs))
            self._shut.add(found)
        else:
            self._unfile(job, found, 1)
            self._shut.add(job)

    def room(self, longest: Callable[[Hashable], int]) -> int:
        """How many more tasks like those that run would be taken, for queues so long by shape."""
        room = 0
        for shape, lengths in self._by_length.items():
            most = longest(shape)
            for length, chains in lengths.items():
                room += max(0, most - length) * len(chains)
        return room

    def leave(self, job: int) -> bool:
        """A task ended, or will not begin; whether nobody holds or awaits its share any more."""
        found = self._of.pop(job)
        if not isinstance(found, _Chain):
            self._unfile(job, found, 1)
            return True
        jobs = found.jobs
        self._unfile(found, found.shape, len(jobs))
        jobs.remove(job)
        if len(jobs) > 1:
            self._file(found, found.shape, len(jobs))
        else:
            self.begin(jobs[0], found.shape)
        return False

    def __contains__(self, job: int) -> bool:
        return job in self._of

    def _file(self, chain: int | _Chain, shape: Hashable, length: int) -> None:
        self._by_length.setdefault(shape, {}).setdefault(length, {})[chain] = None

    def _unfile(self, chain: int | _Chain, shape: Hashable, length: int) -> None:
        if chain in self._shut:
            self._shut.discard(chain)
            return
        lengths = self._by_length[shape]
        chains = lengths[length]
        del chains[chain]
        if not chains:
            del lengths[length]
        if not lengths:
            del self._by_length[shape]
