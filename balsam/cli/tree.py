"""The order and depth in which a task graph is printed as a tree."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Protocol

#: Jobs whose children are asked for at once, and how many more on the levels below those.
AHEAD = 500
BELOW = 1_500


class Children(Protocol):
    """Job -> its children, in order, for those of the given jobs that have any."""

    def __call__(self, jobs: Collection[int], /) -> Mapping[int, Sequence[int]]: ...


def walk(roots: Iterable[int], children: Children) -> Iterator[tuple[int, int]]:
    """(depth, job) of the roots, each with all below it.

    A job with several parents comes below each of them, what is below it only the first time, so
    the tree has at most one line for each job and each edge. Roots and children are read a little
    ahead of the lines that are taken, and no further.
    """
    left = iter(roots)
    known: dict[int, Sequence[int]] = {}
    seen: set[int] = set()
    while page := list(islice(left, AHEAD)):
        stack = [(0, job) for job in reversed(page)]
        while stack:
            depth, job = stack.pop()
            yield depth, job
            if job in seen:
                continue
            if job not in known:
                coming = (one for _, one in islice(reversed(stack), AHEAD))
                fresh = (one for one in coming if not (one in seen or one in known))
                known.update(_below([job, *fresh], children))
            seen.add(job)
            stack.extend((depth + 1, child) for child in reversed(known.pop(job)))


def _below(jobs: Iterable[int], children: Children) -> dict[int, Sequence[int]]:
    """The children of these jobs, and of some of those below them."""
    found: dict[int, Sequence[int]] = {}
    level = list(dict.fromkeys(jobs))
    left = BELOW
    while level:
        part = children(level)
        found.update((job, part.get(job, ())) for job in level)
        following = dict.fromkeys(child for job in level for child in found[job])
        level = [job for job in following if job not in found][:left]
        left -= len(level)
    return found
