"""The CPUs of ranks that an mpirun elsewhere has started on this node."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from balsam.launcher.ensemble.protocol import RUN_MARK
from balsam.platform import affinity, process

#: How often to look: nobody here knows when an mpirun gets as far as its ranks.
LOOKS = 8


@dataclass
class _Attempt:
    token: str
    mark: str
    cpus: Sequence[int]
    looks: int = LOOKS


class Ranks:
    """Attempts whose ranks are to keep to the CPUs that they were given, one look after another."""

    def __init__(self) -> None:
        self._next: deque[tuple[float, _Attempt]] = deque()

    def check(self, token: str, mark: str, cpus: Sequence[int]) -> None:
        """Look for the processes of an attempt in a moment, by the mark that they carry."""
        self._put(_Attempt(token, mark, cpus))

    @property
    def deadline(self) -> float | None:
        """When (monotonic) to :meth:`look`."""
        return self._next[0][0] if self._next else None

    def look(self, now: float) -> Iterator[tuple[str, str]]:
        """The tokens of attempts that use other CPUs, each with what is wrong as a sentence."""
        while self._next and self._next[0][0] <= now:
            _, attempt = self._next.popleft()
            found = process.marked_processes(RUN_MARK, attempt.mark)
            wrong = affinity.wrong(attempt.cpus, found)
            attempt.looks -= 1
            if wrong:
                yield attempt.token, wrong
            elif attempt.looks:
                self._put(attempt)

    def _put(self, attempt: _Attempt) -> None:
        self._next.append((time.monotonic() + affinity.SETTLED_SECONDS, attempt))
