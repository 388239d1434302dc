"""The options that select jobs: the same for every command, bundled into one value."""

from __future__ import annotations

import click
import pytest

from balsam.cli.commands import Command
from balsam.cli.selector import require, selecting
from balsam.core.selection import Selection

SELECTING = ("ls", "logs", "why", "wait", "watch", "retry", "kill", "rm", "modify")


def parsed(*words: str, parts: bool = False) -> Selection:
    found: list[Selection] = []

    @click.command("x", cls=Command)
    @selecting(parts=parts)
    def command(selection: Selection) -> None:
        found.append(selection)

    command.main(list(words), standalone_mode=False)
    return found[0]


def test_options_and_words_become_one_selection() -> None:
    assert parsed() == Selection()
    words = ("17", "a*", "--state", "FAILED", "--state=RUNNING", "--wf", "w", "--last", "3")
    assert parsed(*words) == Selection(
        words=("17", "a*"), states=("FAILED", "RUNNING"), workflows=("w",), last=3
    )
    assert parsed("--workflow", "w").workflows == parsed("--wf-filter", "w").workflows == ("w",)
    assert parsed("--application", "hello", parts=True) == Selection(apps=("hello",), parts=True)


@pytest.mark.parametrize("words", [("--last", "0"), ("--last", "x"), ("--since", "soon")])
def test_values_of_the_wrong_type_are_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(click.UsageError):
        parsed(*words)


def test_all_jobs_are_only_meant_when_that_is_said() -> None:
    require(Selection(words=("1",)))
    require(Selection(), everything=True)
    with pytest.raises(click.UsageError, match="--all"):
        require(Selection())
    with pytest.raises(click.UsageError, match="not both"):
        require(Selection(words=("1",)), everything=True)


@pytest.mark.parametrize("name", SELECTING)
def test_every_command_about_jobs_takes_the_same_options(name: str) -> None:
    from balsam.cli.app import cli

    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    spellings = {option for param in command.params for option in param.opts}
    wanted = {"--id", "--name", "--wf", "--app", "--state", "--tag", "--parent", "--since"}
    assert wanted | {"--until", "--last"} <= spellings
