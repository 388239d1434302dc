"""Who the parents are that the jobs of a workflow file name."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

from balsam.conf.yaml_nodes import Node
from balsam.core.lookups import is_glob
from balsam.core.sweeps import axes
from balsam.core.workflow_file.jobs import Jobs
from balsam.errors import DependencyError, nearest


class Linker:
    """Finds the parents among the jobs of the file."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs
        self.patterns: dict[str, list[int]] = {}

    def link(self) -> None:
        """Turn names of parents into jobs; InvalidValue for unknown ones, DependencyError."""
        above: list[list[int]] = []
        total = 0
        for index, parents in enumerate(self.jobs.parents):
            found: dict[int, None] = {}
            for text, node in parents:
                found.update(dict.fromkeys(self._named(text.strip(), node, index)))
            total += len(found)
            if total > axes.LARGEST:
                raise self.jobs.entries[index].error(f"there are more than {axes.LARGEST:,} edges.")
            above.append(list(found))
            if found:
                self.jobs.made[index]["parents"] = [self.jobs.made[one]["job_id"] for one in found]
        circle = _circle(above)
        if circle:
            names = " -> ".join(self.jobs.made[index]["name"] for index in [*circle, circle[0]])
            node = self.jobs.entries[circle[0]]
            raise DependencyError(
                f"{node.path}, line {node.line}: these jobs wait for each other in a circle: "
                f"{names}."
            )

    def _named(self, text: str, node: Node, child: int) -> Iterable[int]:
        if text in self.jobs.groups:
            return self.jobs.groups[text]
        if text in self.jobs.places:
            return [self.jobs.places[text]]
        if is_glob(text):
            if text not in self.patterns:
                self.patterns[text] = [
                    self.jobs.places[name] for name in fnmatch.filter(self.jobs.places, text)
                ]
            found = [index for index in self.patterns[text] if index != child]
            if found:
                return found
        raise node.error(
            f"the parent '{text}' of '{self.jobs.made[child]['name']}' is no job of this file"
            f"{nearest(text, [*self.jobs.groups, *self.jobs.places]) or '.'}"
        )


def _circle(above: list[list[int]]) -> list[int]:
    """Some jobs that depend on each other in a circle, each on the next; empty if none do."""
    done = [False] * len(above)
    for start in range(len(above)):
        path: list[int] = []
        on_path: dict[int, int] = {}
        stack = [(start, iter(above[start]))] if not done[start] else []
        if stack:
            path, on_path = [start], {start: 0}
        while stack:
            job, rest = stack[-1]
            parent = next(rest, None)
            if parent is None:
                stack.pop()
                path.pop()
                del on_path[job]
                done[job] = True
            elif parent in on_path:
                return path[on_path[parent] :]
            elif not done[parent]:
                on_path[parent] = len(path)
                path.append(parent)
                stack.append((parent, iter(above[parent])))
    return []
