"""``balsam log``: follow what launchers write about what they do."""

from __future__ import annotations

import os
from pathlib import Path

import click

from balsam.cli.commands import Command
from balsam.cli.following import PERIOD_SECONDS, Tail, Titled, rest, stdout
from balsam.cli.limits import OR_NONE


@click.command("log", cls=Command)
@click.option("-n", "--lines", type=OR_NONE, default=10, show_default=True, help="Lines of each.")
@click.option("--no-follow", is_flag=True, help="Show what there is, and end.")
@click.option("--follow", "-f", is_flag=True, expose_value=False, hidden=True)
@click.pass_context
def command(ctx: click.Context, lines: int, no_follow: bool) -> None:
    """Show the ends of the project's log files, and what is added to them, as tail -f does."""
    from balsam.cli.boundary import INTERRUPTED
    from balsam.conf import project as projects

    directory = projects.find().log
    try:
        show(directory, lines, not no_follow)
    except KeyboardInterrupt:
        ctx.exit(INTERRUPTED)


def show(directory: Path, lines: int, follow: bool) -> None:
    """All ``*.log`` files of a directory, also those that come later. BrokenPipeError ends it."""
    out = stdout()
    files = _Logs(directory)
    screen = Titled(out, titles=True)
    files.look(lines)
    for name, tail in files.sorted():
        screen.copy(tail, name)
    if not follow and not files:
        raise click.ClickException(f"There is no log in {directory} yet; launchers write them.")
    while follow:
        rest(out, 2 * PERIOD_SECONDS)
        files.look(None)
        for name, tail in files.sorted():
            if tail.grown():
                screen.copy(tail, name)


class _Logs:
    """The log files there are."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._tails: dict[str, Tail] = {}

    def __len__(self) -> int:
        return len(self._tails)

    def look(self, lines: int | None) -> None:
        """Open what is new, at its last ``lines`` lines; let go of what was removed."""
        try:
            names = {name for name in os.listdir(self._directory) if name.endswith(".log")}
        except FileNotFoundError:
            names = set()
        for name in self._tails.keys() - names:
            self._tails.pop(name).close()
        for name in sorted(names - self._tails.keys()):
            try:
                self._tails[name] = Tail(self._directory / name, lines)
            except OSError:
                continue

    def sorted(self) -> list[tuple[str, Tail]]:
        """(name, file), by name."""
        return sorted(self._tails.items())
