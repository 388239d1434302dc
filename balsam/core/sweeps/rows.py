"""The rows that fill in a sweep: combinations of axes, or dicts that a program has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from balsam.core.sweeps.axes import LARGEST, Axis
from balsam.errors import InvalidValue


class Rows:
    """The rows of one or more axes: every combination, or with ``zipped`` side by side.

    The last axis varies fastest. Iterating gives a dict name -> value for each row. Raises
    InvalidValue for names given twice, unequal lengths, and more than ten million rows.
    """

    def __init__(self, axes: Sequence[Axis], zipped: bool = False) -> None:
        self.axes = list(axes)
        self.zipped = zipped
        self.names = [name for axis in axes for name in axis.names]
        for name in self.names:
            if self.names.count(name) > 1:
                raise InvalidValue(f"'{name}' is given values twice; rename one of them.")
        self.count = self._counted()
        if self.count > LARGEST:
            raise InvalidValue(f"That makes {self.count:,} jobs; at most {LARGEST:,} are allowed.")

    def _counted(self) -> int:
        sizes = [len(axis) for axis in self.axes]
        if self.zipped:
            if len(set(sizes)) > 1:
                listed = ", ".join(
                    f"{axis.names[0]} has {size}"
                    for axis, size in zip(self.axes, sizes, strict=True)
                )
                raise InvalidValue(f"Only axes of one length can be zipped: {listed} values.")
            return sizes[0]
        count = 1
        for size in sizes:
            count *= size
        return count

    @property
    def place(self) -> str:
        """Where the row given last came from, if that is a place in a file or in several."""
        return " and ".join(axis.place for axis in self.axes if axis.place)

    def file_of(self, name: str) -> str:
        """The beginning of a message about a name: the file that has it, if any."""
        source = next(axis.source for axis in self.axes if name in axis.names)
        return f"{source}: " if source else ""

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[dict[str, Any]]:
        names = self.names
        if self.zipped:
            for parts in zip(*self.axes, strict=True):
                yield dict(zip(names, chain.from_iterable(parts), strict=True))
        else:
            # A file is gone through once; those after the first are kept, as they come round again.
            kept = [_Kept(axis) if axis.in_file else axis for axis in self.axes[1:]]
            for values in _product([self.axes[0], *kept]):
                yield dict(zip(names, values, strict=True))


def _product(axes: Sequence[Iterable[tuple[Any, ...]]]) -> Iterator[tuple[Any, ...]]:
    if len(axes) == 1:
        yield from axes[0]
        return
    for head in axes[0]:
        for tail in _product(axes[1:]):
            yield head + tail


class _Kept:
    """The rows of an axis in memory; going through them tells the axis its place again."""

    def __init__(self, axis: Axis) -> None:
        self._axis = axis
        self._rows = [(axis.place, row) for row in axis]

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for place, row in self._rows:
            self._axis.place = place
            yield row


class Given(Axis):
    """Rows that a program has as dicts."""

    lenient = True

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self.rows = [dict(row) for row in rows]
        if not self.rows:
            raise InvalidValue("A sweep needs rows; none were given.")
        self.names = tuple(self.rows[0])
        for index, row in enumerate(self.rows):
            if set(row) != set(self.names):
                raise InvalidValue(f"Row {index} of the sweep has other names than the first.")

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return (tuple(row[name] for name in self.names) for row in self.rows)
