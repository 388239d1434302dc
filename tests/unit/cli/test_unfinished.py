"""What the shell offers for the next word, in our grammar of options."""

from __future__ import annotations

import click
import pytest

from balsam import states
from balsam.cli.app import cli
from balsam.cli.commands import Command
from balsam.cli.options import Grammar, WordsOption
from balsam.cli.unfinished import Typed, candidates


@click.command("shop", cls=Command)
@click.argument("kind", type=click.Choice(["apples", "pears"]))
@click.argument("words", nargs=-1)
@click.option("--name", "-n", multiple=True, help="A name.")
@click.option("--args", cls=WordsOption)
@click.option("--state", help="A state.")
@click.option("--size", type=click.Choice(["small", "large"]))
@click.option("--path", type=click.Path())
@click.option("--all", "everything", is_flag=True)
@click.option("--secret", hidden=True)
def shop(**given: object) -> None:
    """Buy."""


GRAMMAR = Grammar.of(shop.get_params(click.Context(shop)))


def offered(line: str, incomplete: str) -> list[str]:
    return [item.value for item in candidates(shop, "shop", line.split(), incomplete)]


def waiting(line: str) -> str | None:
    option = Typed.of(GRAMMAR, line.split()).waiting
    return option.full if option else None


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("--name", "--name"),
        ("-n", "--name"),
        ("--na", "--name"),
        ("--name x", None),
        ("--name=x", None),
        ("-nx", None),
        ("--args", "--args"),
        ("--args one -two 3", "--args"),
        ("--args one --all", None),
        ("--args one --size", "--size"),
        ("--all", None),
        ("--nonsense", None),
        ("-- --name", None),
    ],
)
def test_the_option_that_waits_for_its_value(line: str, option: str | None) -> None:
    assert waiting(line) == option


@pytest.mark.parametrize(
    ("line", "incomplete", "expected"),
    [
        ("", "", ["apples", "pears"]),
        ("", "p", ["pears"]),
        ("", "--s", ["--state", "--size"]),
        ("--size small", "--s", ["--state"]),
        ("--name x", "--n", ["--name"]),
        ("--si", "", ["small", "large"]),
        ("", "--size=l", ["--size=large"]),
        ("", "--si=l", ["--si=large"]),
        ("--state", "f", [states.FAILED]),
        ("--state", "job_", [states.JOB_FINISHED]),
        ("--args a b", "--a", ["--all"]),
        ("--", "--", []),
        ("apples word", "", []),
    ],
)
def test_what_is_offered(line: str, incomplete: str, expected: list[str]) -> None:
    assert offered(line, incomplete) == expected


def test_files_are_left_to_the_shell() -> None:
    for option in ("--path", "--args"):
        (item,) = candidates(shop, "shop", [option], "ab")
        assert item.type == "file"
    (item,) = candidates(cli, "balsam", ["run", "-n", "1"], "./s")
    assert item.type == "file"


def test_no_option_is_offered_that_is_hidden() -> None:
    assert "--secret" not in offered("apples", "--")
    assert "--debug" not in offered("apples", "--")
    assert set(offered("apples", "--")) == {
        "--name", "--args", "--state", "--size", "--path", "--all", "--help",
    }  # fmt: skip


def test_commands_come_with_their_texts_and_without_older_names() -> None:
    found = {item.value: item.help for item in candidates(cli, "balsam", [], "")}
    assert found == {n: e.help for n, e in cli.entries.items() if not e.hidden}
    assert [item.value for item in candidates(cli, "balsam", [], "make_")] == ["make-dummies"]
    assert [item.value for item in candidates(cli, "balsam", [], "--d")] == ["--debug"]


def test_words_of_a_command_are_its_own() -> None:
    assert [i.value for i in candidates(cli, "balsam", ["completion"], "f")] == ["fish"]
    assert [i.value for i in candidates(cli, "balsam", ["--debug", "which"], "--l")] == ["--list"]
    assert candidates(cli, "balsam", ["nonsense"], "") == []


def test_a_word_after_an_equals_sign_keeps_what_stands_before_it() -> None:
    for item in candidates(shop, "shop", [], "--state="):
        assert item.value.startswith("--state=")
