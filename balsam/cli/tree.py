"""The order and depth in which a task graph is printed as a tree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def walk(selected: Iterable[int], edges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """(depth, job) of the selected jobs that have no selected parent, each with all below it.

    ``edges`` are (parent, child). A job with several parents comes below each of them, what is
    below it only the first time, so the tree has at most one line for each job and each edge.
    """
    roots = dict.fromkeys(selected)
    children: dict[int, list[int]] = {}
    below: set[int] = set()
    for parent, child in edges:
        children.setdefault(parent, []).append(child)
        if parent in roots:
            below.add(child)
    seen: set[int] = set()
    stack = [(0, job) for job in reversed(roots) if job not in below]
    while stack:
        depth, job = stack.pop()
        yield depth, job
        if job not in seen:
            seen.add(job)
            stack.extend((depth + 1, child) for child in reversed(children.get(job, ())))
