"""A view that changes in place on a terminal; nothing of it is left where there is none."""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import IO, Any


def is_terminal(stream: IO[str]) -> bool:
    """Whether ``stream`` is a terminal that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


class Live:
    """Shows the latest text it is given, and nothing once it is left. No thread of its own."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = stream or sys.stdout
        self.terminal = is_terminal(self._stream)
        self._live: Any = None

    def __enter__(self) -> Live:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    @property
    def height(self) -> int:
        """Lines of the screen."""
        from rich.console import Console

        return Console(file=self._stream).height

    def say(self, text: str) -> None:
        """Print a line that stays, above the view if there is one."""
        if self._live is None:
            print(text, file=self._stream, flush=True)
        else:
            self._live.console.print(text, markup=False, highlight=False)

    def show(self, text: str) -> None:
        """Put a text in the place of the one before; its lines are cut to the screen."""
        if not self.terminal:
            return
        from rich.text import Text

        view = Text(text, no_wrap=True, overflow="ellipsis")
        if self._live is None:
            from rich.console import Console
            from rich.live import Live as RichLive

            console = Console(file=self._stream)
            self._live = RichLive(
                view,
                console=console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        self._live.update(view, refresh=True)
