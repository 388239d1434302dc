"""``name__glob="sim_*"``: shell patterns in queries, the same on either database."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from typing import Any

from django.db.models import Lookup, Q, TextField


def is_glob(text: str) -> bool:
    """Whether ``text`` is a pattern rather than a name."""
    return any(mark in text for mark in "*?[")


def any_of(conditions: Iterable[Q]) -> Q:
    """Either of these."""
    either = Q()
    for condition in conditions:
        either |= condition
    return either


def glob_regex(pattern: str) -> str:
    """A shell pattern as a POSIX regular expression for the whole text."""
    regex = fnmatch.translate(pattern).replace("(?s:", "(?:")
    return regex.replace("\\Z", "$").replace("\\z", "$")


@TextField.register_lookup
class Glob(Lookup):
    """``*`` is any text, ``?`` any character, ``[ab]`` one of these; case matters."""

    lookup_name = "glob"

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        left, left_parameters = self.process_lhs(compiler, connection)
        if connection.vendor == "sqlite":
            return f"{left} GLOB %s", (*left_parameters, self.rhs.replace("[!", "[^"))
        return f"{left} ~ %s", (*left_parameters, glob_regex(self.rhs))
