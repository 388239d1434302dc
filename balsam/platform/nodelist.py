"""Lists of numbers and of node names as schedulers write them: ``0-3,8``, ``nid[001-004,7]``."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator

#: More nodes than any machine has; a list that unfolds to more is a mistake.
MOST = 1_000_000

_RANGE = re.compile(r"(\d+)(?:-(\d+))?", re.ASCII)
_BRACKET = re.compile(r"\[([^\[\]]*)\]")
_DIGITS = re.compile(r"(\d+)", re.ASCII)


def numbers(text: str) -> list[int]:
    """The numbers of ``0-3,8``, in order; none of an empty text. Raises ValueError."""
    return [int(word) for word in _words(text)] if text.strip() else []


def expand(text: str) -> list[str]:
    """The names of a list in bracket form, in order, each once.

    Names stand between commas or spaces; each may have several brackets and text after them:
    ``a[1-2]b[01,03-04].net,login1``. A range is filled with zeros to the width of its first
    number. Raises ValueError for a list that is not of this form or longer than :data:`MOST`.
    """
    names: dict[str, None] = {}
    for part in _parts(text):
        pieces = _BRACKET.split(part)
        if any(mark in piece for piece in pieces[::2] for mark in "[]"):
            raise ValueError(f"'{part}' has a bracket without its partner")
        choices = [_words(piece) if index % 2 else [piece] for index, piece in enumerate(pieces)]
        if len(names) + math.prod(map(len, choices)) > MOST:
            raise ValueError(f"'{part}' is more than {MOST} nodes")
        names.update(dict.fromkeys(map("".join, itertools.product(*choices))))
    return list(names)


def compress(names: Iterable[str]) -> str:
    """A short list in bracket form of the same set of names, which :func:`expand` unfolds.

    The order is lost: it is that of the text and numbers in the names.
    """
    # Names as text and numbers in turns; one column of numbers after the other is folded.
    rows = sorted({tuple(_DIGITS.split(name)) for name in names}, key=_order)
    for column in range(max(map(len, rows), default=0), 0, -1):
        if column % 2:
            rows = _fold(rows, column)
    return ",".join("".join(row) for row in sorted(rows, key=_order))


def _fold(rows: list[tuple[str, ...]], column: int) -> list[tuple[str, ...]]:
    groups: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for row in rows:
        if column < len(row):
            groups.setdefault((row[:column], row[column + 1 :]), []).append(row[column])
    short = [row for row in rows if column >= len(row)]
    return short + [(*head, _ranges(values), *tail) for (head, tail), values in groups.items()]


def _ranges(values: list[str]) -> str:
    """Numbers as one bracket, or as they are if it is one."""
    if len(values) == 1:
        return values[0]
    runs: list[list[str]] = []
    for value in sorted(values, key=lambda value: (int(value), len(value))):
        first, last = runs[-1] if runs else ("", "")
        if runs and value == str(int(last) + 1).zfill(len(first)):
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return f"[{','.join(a if a == b else f'{a}-{b}' for a, b in runs)}]"


def _order(row: tuple[str, ...]) -> tuple[tuple[int, int, str], ...]:
    return tuple((0, int(word), word) if _DIGITS.fullmatch(word) else (1, 0, word) for word in row)


def _parts(text: str) -> Iterator[str]:
    """What stands between commas and spaces outside of brackets."""
    depth, part = 0, ""
    for letter in text:
        depth += (letter == "[") - (letter == "]")
        if depth == 0 and (letter == "," or letter.isspace()):
            if part:
                yield part
            part = ""
        else:
            part += letter
    if part:
        yield part


def _words(text: str) -> list[str]:
    """The numbers of ``001-004,7`` as they are written."""
    words: list[str] = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"'{part}' is no number and no range of numbers")
        first, last = match[1], match[2] or match[1]
        if int(last) < int(first):
            raise ValueError(f"the range '{part}' ends before it begins")
        if len(words) + int(last) - int(first) >= MOST:
            raise ValueError(f"'{text}' is more than {MOST} numbers")
        words.extend(str(value).zfill(len(first)) for value in range(int(first), int(last) + 1))
    return words
