"""``{{ name }}`` in the fields of a sweep, by Jinja2 in its sandbox, compiled once.

Text with nothing but plain names in its braces, which is nearly all there is, is put together
without Jinja2: a tenth of the time.
"""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from balsam.errors import InvalidValue, nearest

Row = Mapping[str, Any]

_MARKS = ("{{", "{%")
_WHOLE = re.compile(r"[+-]?\d+")
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def is_template(value: Any) -> bool:
    """Whether a value is text with something to fill in."""
    return isinstance(value, str) and any(mark in value for mark in _MARKS)


def has_templates(value: Any) -> bool:
    """Whether there is something to fill in anywhere in a value."""
    if isinstance(value, Mapping):
        return any(map(has_templates, (*value, *value.values())))
    return any(map(has_templates, value)) if isinstance(value, list) else is_template(value)


class Template:
    """One text with ``{{ }}``; ``names`` are the names it needs.

    ``where`` names the field in errors. Raises InvalidValue if it is no template.
    """

    def __init__(self, text: str, where: str) -> None:
        import jinja2
        from jinja2 import meta

        self.text = text
        self.where = where
        try:
            tree = _environment().parse(text)
            self.names = frozenset(meta.find_undeclared_variables(tree)) - {"range"}
            self._fill = _plain(tree) or self._compiled()
        except (jinja2.TemplateError, RecursionError) as error:
            raise InvalidValue(f"{where}: '{text}' is no template: {_said(error)}.") from error

    def check(self, known: Iterable[str]) -> None:
        """Raise InvalidValue for a name that is not among ``known``."""
        known = sorted(known)
        for name in sorted(self.names.difference(known)):
            hint = nearest(name, known) or f"; there are {', '.join(known)}."
            raise InvalidValue(f"{self.where}: nothing gives a value to {{{{ {name} }}}}{hint}")

    def __call__(self, row: Row) -> str:
        """The text for one row. Raises InvalidValue for what can not be computed."""
        try:
            return self._fill(row)
        except InvalidValue:
            raise
        except Exception as error:  # noqa: BLE001 (an expression may raise whatever it likes)
            raise InvalidValue(
                f"{self.where}: '{self.text}' can not be filled in: {_said(error)}."
            ) from error

    def _compiled(self) -> Callable[[Row], str]:
        render = _environment().from_string(self.text).render
        names = self.names
        return lambda row: render({name: number(row[name]) for name in names})


def _said(error: Exception) -> str:
    """What an error says in one clause; Jinja2's own text goes on with places in its code."""
    text = getattr(error, "message", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0].rstrip(".")


def number(value: Any) -> Any:
    """Text that spells a number as a number that prints as it was written; the rest as it is."""
    if not isinstance(value, str):
        return value
    if _WHOLE.fullmatch(value) and len(value) < 1000:
        return _Whole(value)
    return _Decimal(value) if _DECIMAL.fullmatch(value) else value


class _Whole(int):
    """A whole number with its spelling (``007``)."""

    spelled: str

    def __new__(cls, spelled: str) -> _Whole:
        self = super().__new__(cls, spelled)
        self.spelled = spelled
        return self

    def __str__(self) -> str:
        return self.spelled


class _Decimal(float):
    """A number with its spelling (``1.50``)."""

    spelled: str

    def __new__(cls, spelled: str) -> _Decimal:
        self = super().__new__(cls, spelled)
        self.spelled = spelled
        return self

    def __str__(self) -> str:
        return self.spelled


@functools.cache
def _environment() -> Any:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment, safe_range

    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    environment.globals.clear()
    environment.globals["range"] = safe_range
    environment.filters["quote"] = lambda value: shlex.quote(str(value))
    return environment


def _plain(tree: Any) -> Callable[[Row], str] | None:
    """What fills in a template of text and names only; None if there is more to it."""
    from jinja2 import nodes

    pieces: list[Any] = []
    for output in tree.body:
        if not isinstance(output, nodes.Output):
            return None
        pieces += output.nodes
    texts: list[str] = [""]
    names: list[str] = []
    for piece in pieces:
        if isinstance(piece, nodes.TemplateData):
            texts[-1] += piece.data
        elif isinstance(piece, nodes.Name):
            names.append(piece.name)
            texts.append("")
        else:
            return None
    if len(names) == 1:
        (name,), (before, after) = names, texts
        return lambda row: f"{before}{row[name]}{after}"
    pattern = "%s".join(text.replace("%", "%%") for text in texts)
    return lambda row: pattern % tuple([row[name] for name in names])
