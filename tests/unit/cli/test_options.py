"""How options may be spelled."""

from __future__ import annotations

import importlib
import shlex

import click
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from balsam.cli.app import cli
from balsam.cli.options import Grammar, Spelling, join_plain, join_words

JOB = Grammar(
    [
        Spelling(("--name",)),
        Spelling(("--num-nodes",)),
        Spelling(("--wall-time-minutes", "--wall-minutes")),
        Spelling(("--args",), "words", join_words),
        Spelling(("--description",), "words", join_plain),
        Spelling(("--yes", "-y"), "nothing"),
        Spelling(("--secret",), "nothing", hidden=True),
        Spelling(("-n",)),
    ]
)


def all_commands() -> dict[str, click.Command]:
    return {
        name: getattr(importlib.import_module(entry.module), entry.attribute)
        for name, entry in cli.entries.items()
    }


def every_long_option() -> list[tuple[str, Spelling, str]]:
    return [
        (command, Spelling.of(option), name)
        for command, found in all_commands().items()
        for option in found.params
        if isinstance(option, click.Option) and not option.hidden
        for name in option.opts
        if name.startswith("--")
    ]


def grammar_of(command: str) -> Grammar:
    found = all_commands()[command]
    return Grammar.of(found.get_params(click.Context(found)))


@given(st.sampled_from(every_long_option()), st.data())
def test_any_unique_prefix_means_the_full_option(
    chosen: tuple[str, Spelling, str], data: st.DataObject
) -> None:
    command, option, name = chosen
    grammar = grammar_of(command)
    length = data.draw(st.integers(min_value=3, max_value=len(name)))
    prefix = name[:length]
    assume(prefix == name or prefix not in grammar.exact)
    if data.draw(st.booleans()):
        prefix = "--" + prefix[2:].replace("-", "_")
    others = [o for n, o in grammar.guessable.items() if n.startswith(name[:length])]
    value = [] if option.takes == "nothing" else ["value"]
    if len(set(others)) == 1 or length == len(name):
        assert grammar.rewrite([prefix, *value]) == grammar.rewrite([name, *value])
    else:
        with pytest.raises(click.UsageError, match="could be"):
            grammar.rewrite([prefix, *value])


@given(st.lists(st.text(alphabet="ab '\"$\\*", max_size=5), min_size=2))
def test_several_words_survive_being_split_again(words: list[str]) -> None:
    (rewritten,) = JOB.rewrite(["--args", *words])
    assert shlex.split(rewritten.removeprefix("--args=")) == words


@given(st.text(max_size=20).filter(lambda text: not text.startswith(("-", "\u2014", "\u2013"))))
def test_a_single_word_is_taken_as_it_is(text: str) -> None:
    assert JOB.rewrite(["--args", text]) == [f"--args={text}"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["--args", "--steps", "5", "--name", "x"], ["--args=--steps 5", "--name=x"]),
        (["--args", "-5"], ["--args=-5"]),
        (["--args", "-k 5"], ["--args=-k 5"]),
        (["--args=-k", "--name=x"], ["--args=-k", "--name=x"]),
        (["--args=-k", "5"], ["--args=-k 5"]),
        (["--args", "--", "--name", "x"], ["--args=--name x"]),
        (["--args"], ["--args="]),
        (["--desc", "say", "it", "isn't"], ["--description=say it isn't"]),
        (["--args", "5", "--desc", "a", "b"], ["--args=5", "--description=a b"]),
        (["--args", "5", "--wall-min", "60"], ["--args=5", "--wall-time-minutes=60"]),
        (["--args", "5", "--num_nodes", "3"], ["--args=5", "--num-nodes=3"]),
        (["--args=--na", "5"], ["--args=--na 5"]),
        (["--wall-min", "3"], ["--wall-time-minutes=3"]),
        (["--wall", "3"], ["--wall-time-minutes=3"]),
        (["--num_nodes=3"], ["--num-nodes=3"]),
        (["--name", "-5"], ["--name=-5"]),
        (["--name", "-x"], ["--name=-x"]),
        (["\u2014desc", "a"], ["--description=a"]),
        (["-n", "3", "rest"], ["-n", "3", "--", "rest"]),
        (["-n3"], ["-n", "3"]),
        (["-y", "-1"], ["--yes", "--", "-1"]),
        (["a", "--yes", "--", "--name"], ["--yes", "--", "a", "--name"]),
        (["--secret"], ["--secret"]),
    ],
)
def test_rewriting(typed: list[str], meant: list[str]) -> None:
    assert JOB.rewrite(typed) == meant


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["--nmae", "x"], "did you mean '--name'"),
        (["--n", "x"], "could be --name, --num-nodes"),
        (["--name"], "--name needs a value"),
        (["--name", "--yes"], "--name needs a value"),
        (["--yes=1"], "takes no value"),
        (["--args", "5", "--nume-nodes", "3"], "did you mean '--num-nodes'.*--args=--nume-nodes"),
        (["--args", "1", "--na", "f.txt"], "written out as --name.*write --args=--na"),
        (["--args", "1", "--na=f.txt"], "written out as --name.*write --args=--na=f.txt"),
        (["--args", "--n", "3"], "could be --name, --num-nodes"),
        (["--secr"], "no option --secr"),
        (["-z"], "no option -z"),
    ],
)
def test_refusals(typed: list[str], message: str) -> None:
    with pytest.raises(click.UsageError, match=message):
        JOB.rewrite(typed)


def test_loose_words_are_positional() -> None:
    loose = Grammar([Spelling(("--type",))], loose=True)
    typed = ["17", "args", "-n", "--steps", "--type", "jobs"]
    assert loose.rewrite(typed) == ["--type=jobs", "--", "17", "args", "-n", "--steps"]


def test_a_stopping_grammar_leaves_the_command_and_its_words_alone() -> None:
    top = Grammar([Spelling(("--debug",), "nothing")], stop=True)
    assert top.rewrite(["--deb", "ls", "--hist"]) == ["--debug", "ls", "--hist"]


@pytest.mark.parametrize("command", ["job", "mkchild"])
def test_commands_that_add_jobs_share_their_options(command: str) -> None:
    grammar = grammar_of(command)
    words = ["--args", "-n", "5"]
    typed = ["--wf", "w", "-n", "2", "--time-limit-minutes", "5", *words, "--name", "x"]
    assert grammar.rewrite(typed) == [
        "--workflow=w", "--num-nodes=2", "--time-limit-minutes=5", "--args=-n 5", "--name=x",
    ]  # fmt: skip
