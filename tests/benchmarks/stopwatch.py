"""Times of named operations, for scripts that run inside a project and print them."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator


class Stopwatch:
    """Milliseconds of each operation, as often as it was made."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Measure what is done inside."""
        begin = time.perf_counter()
        yield
        self.times.setdefault(name, []).append(1e3 * (time.perf_counter() - begin))

    def tell(self) -> None:
        """Print them for :func:`read`."""
        print(json.dumps(self.times))


def read(printed: str) -> dict[str, list[float]]:
    """What a script told: the last line it printed."""
    found: dict[str, list[float]] = json.loads(printed.splitlines()[-1])
    return found
