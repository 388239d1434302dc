"""``name__glob="sim_*"`` and ``name__contains="x"``, the same on either database."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import CharField, Lookup, Q, TextField
from django.db.models.lookups import BuiltinLookup, Contains, EndsWith, StartsWith


def is_glob(text: str) -> bool:
    """Whether ``text`` is a pattern rather than a name."""
    return any(mark in text for mark in "*?[")


def any_of(conditions: Iterable[Q]) -> Q:
    """Either of these."""
    either = Q()
    for condition in conditions:
        either |= condition
    return either


def glob_condition(column: str, pattern: str, vendor: str) -> tuple[str, str]:
    """A condition in SQL that a shell pattern matches all of a column, and its parameter."""
    if vendor == "sqlite":
        # Its "none of these" is written in another way.
        return f"{column} GLOB %s", pattern.replace("[!", "[^")
    return f"{column} ~ %s", glob_regex(pattern)


def glob_regex(pattern: str) -> str:
    """A shell pattern as a regular expression of Postgres for the whole text.

    What SQLite's GLOB makes of it, it makes too: ``[`` without its end and a set of nothing match
    nothing.
    """
    parts = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character == "*":
            parts.append(".*")
        elif character == "?":
            parts.append(".")
        elif character == "[":
            part, at = _set(pattern, at)
            parts.append(part)
        else:
            parts.append(_literal(character))
    return f"^{''.join(parts)}$"


#: Matches nothing.
_NOTHING = "(?!)"


def _set(pattern: str, at: int) -> tuple[str, int]:
    """The set that begins at ``at``, behind its bracket, and where it ends."""
    negated = pattern[at : at + 1] in ("!", "^") and pattern[at : at + 1] != ""
    at += negated
    end = pattern.find("]", at + 1)
    if end < 0:
        return _NOTHING, len(pattern)
    given, members = pattern[at:end], []
    while given:
        if len(given) > 2 and given[1] == "-":
            low, high, given = given[0], given[2], given[3:]
            if low <= high:
                members.append(f"{_literal(low)}-{_literal(high)}")
        else:
            members.append(_literal(given[0]))
            given = given[1:]
    if not members:
        return "." if negated else _NOTHING, end + 1
    return f"[{'^' if negated else ''}{''.join(members)}]", end + 1


def _literal(character: str) -> str:
    return character if character.isalnum() or character == "_" else f"\\{character}"


@TextField.register_lookup
class Glob(Lookup):
    """``*`` is any text, ``?`` any character, ``[ab]`` one of these; case matters."""

    lookup_name = "glob"

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        left, left_parameters = self.process_lhs(compiler, connection)
        condition, parameter = glob_condition(left, self.rhs, connection.vendor)
        return condition, (*left_parameters, parameter)


class _Exactly(BuiltinLookup):
    """Case matters, as Django says and Postgres does; SQLite's LIKE takes ``a`` for ``A``."""

    #: Of the text and the part, each given as often as it is named.
    condition = ""

    def as_sqlite(self, compiler: Any, connection: Any) -> Any:
        left, left_parameters = self.process_lhs(compiler, connection)
        part, part_parameters = BuiltinLookup.process_rhs(self, compiler, connection)
        if self.rhs_is_direct_value():
            part_parameters = [str(value) for value in part_parameters]
        written: list[str] = []
        parameters: list[Any] = []
        for word in self.condition.split():
            is_left, is_part = word == "TEXT", word == "PART"
            written.append(left if is_left else part if is_part else word)
            parameters += left_parameters if is_left else part_parameters if is_part else []
        return " ".join(written), parameters


@CharField.register_lookup
@TextField.register_lookup
class ExactlyContains(_Exactly, Contains):
    """``contains``: the text has the part in it."""

    condition = "instr( TEXT , PART ) > 0"


@CharField.register_lookup
@TextField.register_lookup
class ExactlyStartsWith(_Exactly, StartsWith):
    """``startswith``: it begins with the part."""

    condition = "substr( TEXT , 1, length( PART ) ) = PART"


@CharField.register_lookup
@TextField.register_lookup
class ExactlyEndsWith(_Exactly, EndsWith):
    """``endswith``: it ends with the part."""

    condition = "substr( TEXT , length( TEXT ) - length( PART ) + 1) = PART"
