"""Which nodes let their mpirun fail: in groups, at once, and each group has its time to start.

A node that is cut off lets a starter such as ssh hang for minutes, and an mpirun that lost a node
rarely names it. So the nodes are started in some groups in parallel. Those that report in are safe;
the others are ended well after these, and split again: thousands of nodes take four rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

#: Into so many groups nodes are split, but so few of them each become one.
GROUPS = 8
SINGLES = 16
#: A keeper's tasks go on for so long, if half a lease is not shorter, when it is told that the
#: launcher may be gone: longer than four rounds of the search take.
ORPHAN_SECONDS = 45.0
_MOST_SLACK_SECONDS = 3.0
#: What the first mpirun may take before its nodes are tried in groups, and more for each node.
_FIRST_SECONDS = 15.0
_FIRST_SECONDS_PER_NODE = 0.02
#: So often the time to start is doubled for a node that did not report in.
_DOUBLINGS = 2


def orphan_seconds(lease_seconds: float) -> float:
    """How long keepers wait for another rank when their launcher may be gone."""
    return min(ORPHAN_SECONDS, lease_seconds / 2)


def silence_seconds(lease_seconds: float) -> float:
    """How long keepers go on that hear nothing of their launcher: nobody has its lease by then."""
    return lease_seconds / 2


def beat_seconds(lease_seconds: float) -> float:
    """How often a sign of life goes around: often enough for half a lease."""
    return max(0.05, min(5.0, lease_seconds / 16))


def split(nodes: Sequence[str]) -> list[tuple[str, ...]]:
    """A few nodes one by one, more in groups of neighbours, which tend to fail together."""
    count = len(nodes) if len(nodes) <= SINGLES else GROUPS
    total = len(nodes)
    return [
        tuple(nodes[number * total // count : (number + 1) * total // count])
        for number in range(count)
    ]


@dataclass
class Wave:
    """Groups that are started at the same time: how many nodes reported in, after what time.

    ``whole``: it is one group of all nodes, so there is something to gain by other groups.
    """

    whole: bool = False
    took: list[tuple[int, float]] = field(default_factory=list)


class Pace:
    """How long a group may take to start."""

    def __init__(self, start_seconds: float, orphan: float) -> None:
        self._start_seconds = start_seconds
        self._slack = min(_MOST_SLACK_SECONDS, orphan / 10)
        self._patience = orphan / 3
        #: What the slowest start so far took; None before the first.
        self._slowest: float | None = None

    def reported(self, wave: Wave, size: int, seconds: float) -> None:
        """A group of so many nodes is there."""
        wave.took.append((size, seconds))
        self._slowest = max(self._slowest or 0.0, seconds)

    def allowed(self, wave: Wave, size: int, tries: int) -> float:
        """How many seconds a group has, after so many failures.

        It is compared with groups that are not much smaller. Where none has reported in, all may be
        slow for the same reason, and they have longer. If not even one ever has, ``start_seconds``.
        """
        like = [took for count, took in wave.took if size <= SINGLES or 2 * count >= size]
        if like:
            seconds = self._slack + 2 * max(like)
        elif self._slowest is not None:
            seconds = max(self._patience, 3 * self._slack + 2 * self._slowest)
        elif wave.whole and size > 1:
            seconds = _FIRST_SECONDS + _FIRST_SECONDS_PER_NODE * size
        else:
            return self._start_seconds
        return min(self._start_seconds, seconds * 2 ** min(tries, _DOUBLINGS))
