"""YAML text as a tree of values that know their lines, so that errors can name them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from balsam.errors import InvalidValue

#: Deeper files than this are no description of anything, nor those that unfold to more values.
_DEEPEST = 100
_MOST = 5_000_000


@dataclass(frozen=True)
class Node:
    """One value: a dict of nodes, a list of nodes, or a scalar with the text it was written as."""

    path: str
    line: int
    value: Any
    text: str | None = None

    def error(self, message: str) -> InvalidValue:
        """The error for this value, which begins with file and line."""
        return InvalidValue(f"{self.path}, line {self.line}: {message}")

    def items(self, what: str) -> Iterator[tuple[str, Node]]:
        """The keys and values of a mapping; InvalidValue if it is none."""
        if not isinstance(self.value, dict):
            raise self.error(f"{what} is {self.kind}; write lines of the form 'name: value'.")
        yield from self.value.items()

    def elements(self, what: str) -> list[Node]:
        """The elements of a list; InvalidValue if it is none."""
        if not isinstance(self.value, list):
            raise self.error(f"{what} is {self.kind}; write a list, each element after '- '.")
        return self.value

    def written(self, what: str) -> str:
        """A word or number as it was written; InvalidValue for anything else."""
        if self.text is None or self.value is None:
            raise self.error(f"{what} is {self.kind}; write text.")
        return self.text

    @property
    def kind(self) -> str:
        """What it is, for messages."""
        if isinstance(self.value, (dict, list)):
            return "a mapping" if isinstance(self.value, dict) else "a list"
        return "empty" if self.value is None else f"'{self.text}'"

    def plain(self) -> Any:
        """The value as Python's own types."""
        if isinstance(self.value, dict):
            return {name: node.plain() for name, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value


def parse(text: str, path: str) -> Node:
    """The tree of one YAML document; ``path`` names the file in errors. Raises InvalidValue."""
    loader = yaml.SafeLoader("")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise InvalidValue(f"{path}{line}: not valid YAML: {error.problem}.") from error
    except yaml.reader.ReaderError as error:
        line = f", line {text.count(chr(10), 0, error.position) + 1}"
        raise InvalidValue(f"{path}{line}: not valid YAML: {error.reason}.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidValue(f"{path}: not valid YAML: {error}.") from error
    if root is None:
        raise InvalidValue(f"{path} is empty.")
    return _Tree(loader, path).node(root, 0, root)


class _Tree:
    def __init__(self, loader: Any, path: str) -> None:
        self.loader = loader
        self.path = path
        self.count = 0

    def node(self, node: Any, depth: int, at: Any) -> Node:
        """``at`` is what is on the line to name: an alias carries the line of its anchor."""
        line = at.start_mark.line + 1
        self.count += 1
        if depth > _DEEPEST or self.count > _MOST:
            raise Node(self.path, line, None).error("this is nested too deeply.")
        if isinstance(node, yaml.MappingNode):
            return Node(self.path, line, self._mapping(node, depth))
        if isinstance(node, yaml.SequenceNode):
            return Node(self.path, line, [self.node(one, depth + 1, one) for one in node.value])
        try:
            value = self.loader.construct_object(node)
        except (yaml.YAMLError, ValueError, LookupError, AttributeError, OverflowError) as error:
            tag = str(node.tag).rpartition(":")[2]
            raise Node(self.path, line, None).error(
                f"'{node.value[:60]}' is not a value of type {tag[:60]}."
            ) from error
        return Node(self.path, line, value, node.value)

    def _mapping(self, node: Any, depth: int) -> dict[str, Node]:
        own = len([key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"])
        try:
            self.loader.flatten_mapping(node)  # what '<<' brings in comes first
        except yaml.MarkedYAMLError as error:
            line = node.start_mark.line + 1
            raise Node(self.path, line, None).error(f"{error.problem}.") from error
        merged = len(node.value) - own
        found: dict[str, Node] = {}
        seen: set[str] = set()
        for index, (key, value) in enumerate(node.value):
            here = Node(self.path, key.start_mark.line + 1, None)
            if not isinstance(key, yaml.ScalarNode):
                raise here.error("a name is a word, not a list or mapping.")
            if key.value in seen:
                raise here.error(f"'{key.value}' is given twice; keep one of them.")
            if index >= merged:
                seen.add(key.value)
            found[key.value] = self.node(value, depth + 1, key)
        return found
