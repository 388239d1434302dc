"""Tasks sent to a node ahead of time: each begins there when one that asks for as much has ended.

A chain is one share of a node and the tasks that will hold it, one after the other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field


@dataclass(eq=False)
class _Chain:
    shape: Hashable
    jobs: deque[int] = field(default_factory=deque)


class Chains:
    """Who follows whom, by what they ask for (any hashable ``shape``)."""

    def __init__(self) -> None:
        self._of: dict[int, _Chain] = {}
        #: Chains by shape, then by the number of tasks in them, oldest first.
        self._by_length: dict[Hashable, dict[int, dict[_Chain, None]]] = {}

    def begin(self, job: int, shape: Hashable) -> None:
        """A task got a share of its own."""
        chain = _Chain(shape, deque([job]))
        self._of[job] = chain
        self._file(chain)

    def append(self, job: int, shape: Hashable, longest: int) -> int | None:
        """Put a task behind the shortest queue for such a share; the task it will follow.

        None if every chain of that shape has ``longest`` tasks already.
        """
        lengths = self._by_length.get(shape, {})
        length = next((number for number in sorted(lengths) if number < longest), None)
        if length is None:
            return None
        chain = next(iter(lengths[length]))
        self._unfile(chain)
        before = chain.jobs[-1]
        chain.jobs.append(job)
        self._of[job] = chain
        self._file(chain)
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
        self._unfile(chain)
        chain.jobs.remove(job)
        if chain.jobs:
            self._file(chain)
        return not chain.jobs

    def __contains__(self, job: int) -> bool:
        return job in self._of

    def _file(self, chain: _Chain) -> None:
        lengths = self._by_length.setdefault(chain.shape, {})
        lengths.setdefault(len(chain.jobs), {})[chain] = None

    def _unfile(self, chain: _Chain) -> None:
        lengths = self._by_length[chain.shape]
        chains = lengths[len(chain.jobs)]
        del chains[chain]
        if not chains:
            del lengths[len(chain.jobs)]
        if not lengths:
            del self._by_length[chain.shape]
