"""What the documentation is made with: the code blocks of a page, and pages made from the code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import click
import pytest
from balsam_docs import (
    blocks,
    commands_page,
    manual,
    models_page,
    rst,
    settings_page,
    states_page,
)

from balsam import states
from balsam.cli.app import cli
from balsam.conf import settings
from balsam.core.models import ApplicationDefinition, BalsamJob

PAGE = """\
A page
======

.. code-block:: console
   :name: greet

   $ echo hello
   hello

Words in between.

* A list, with code in it:

  .. code-block:: python
     :caption: two lines.py

     if True:

         print("two")

.. code-block::

   shown
"""


def test_blocks_have_language_options_text_and_place() -> None:
    first, second, third = blocks.parse(PAGE, "page.rst")
    assert (first.language, first.options) == ("console", {"name": "greet"})
    assert first.text == "$ echo hello\nhello"
    assert first.place == "page.rst:4"
    assert (second.language, second.options) == ("python", {"caption": "two lines.py"})
    assert second.text == 'if True:\n\n    print("two")'
    assert (third.language, third.text) == ("", "shown")


def test_other_ways_to_show_code_are_found() -> None:
    text = "One::\n\n  shown\n\n.. code:: python\n\n   1\n\n.. note::\n\n   No code.\n"
    assert blocks.other_code(text) == [1, 5]
    assert blocks.other_code(PAGE) == []


def test_a_named_block_is_printed(tmp_path: Path) -> None:
    page = tmp_path / "page.rst"
    page.write_text(PAGE)
    words = [sys.executable, blocks.__file__, str(page), "greet"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "$ echo hello\nhello\n"
    with pytest.raises(LookupError, match="0 code blocks named 'absent'"):
        blocks.named(page, "absent")


def test_each_state_and_cause_is_explained() -> None:
    assert tuple(states_page.MEANINGS) == states.STATES
    assert tuple(states_page.CAUSES) == states.CAUSES
    assert set(states_page.PLACES) == set(states.STATES)
    for name in (*states.STATES, *states.CAUSES):
        pages = [*states_page.states_table(), *states_page.causes_table()]
        assert any(f"- ``{name}``" in line for line in pages)


def test_the_drawing_has_every_move() -> None:
    drawn = ElementTree.fromstring(states_page.drawing())
    arrows = {
        (path.attrib["data-from"], path.attrib["data-to"])
        for path in drawn.iter("path")
        if "data-from" in path.attrib
    }
    shared = {target for source, target in arrows if source == "*"}
    assert shared == {states.FAILED, states.USER_KILLED}
    expected = {
        (state, target)
        for state, targets in states.BALSAM_MOVES.items()
        for target in targets
        if target not in shared
    }
    assert {arrow for arrow in arrows if arrow[0] != "*"} == expected
    assert {text.text for text in drawn.iter("text")} >= set(states.STATES)


def test_no_two_states_are_drawn_in_one_place() -> None:
    places = list(states_page.PLACES.values())
    assert len(set(places)) == len(places)


@pytest.mark.parametrize(
    ("model", "meanings"),
    [
        (BalsamJob, models_page.JOB_MEANINGS),
        (ApplicationDefinition, models_page.APP_MEANINGS),
    ],
)
def test_each_field_is_explained(model: type, meanings: dict[str, str]) -> None:
    assert {field.name for field in models_page.own_fields(model)} == set(meanings)


def test_fields_are_shown_with_their_other_names_and_defaults() -> None:
    lines = models_page.job_fields()
    place = lines.index(
        "   * - ``ranks_per_node`` (also ``processes_per_node``, ``procs_per_node``)"
    )
    assert lines[place + 1 : place + 3] == ["     - whole number", "     - 1"]


def test_every_setting_is_on_the_page() -> None:
    lines = settings_page.settings_tables()
    for name, section in settings.SECTIONS.items():
        assert f".. rubric:: {name}" in lines
        for field in vars(section()):
            assert f"   * - ``{field}``" in lines


def test_every_command_is_on_the_page_with_its_visible_options() -> None:
    text = "\n".join(commands_page.commands_page())
    for name in ("init", "launcher", "ls"):
        assert f".. object:: balsam {name}" in text
    assert "``--wf-filter, --wf-name W``" in text
    assert "--num-workers" not in text


@pytest.mark.parametrize("name", [*cli.entries])
def test_every_command_and_option_says_what_it_is_for(name: str) -> None:
    command, context = commands_page.found(name)
    assert cli.entries[name].help.endswith(".")
    assert list(commands_page.paragraphs(command))
    for param in command.get_params(context):
        if isinstance(param, click.Option) and not param.hidden:
            assert (param.help or "").rstrip().endswith((".", ")")), f"{name} {param.opts}"


@pytest.mark.parametrize("name", [*commands_page.entries()])
def test_every_command_and_option_is_in_the_reference_and_in_its_manual_page(name: str) -> None:
    command, context = commands_page.found(name)
    reference = "\n".join(commands_page.commands_page())
    assert f".. object:: {commands_page.usage(command, context)}\n" in reference
    page = "\n".join(manual.page(f"balsam-{name}"))
    for spelling, text in commands_page.options(command, context):
        assert f"``{spelling}``" in reference
        assert f"``{spelling}``\n   {rst.plain(text)}" in page
    for word, _ in commands_page.arguments(command, context):
        assert f"   * - ``{word}``" in reference
        assert f"``{word}``" in page
    assert f":manpage:`balsam-{name}(1)`" in "\n".join(manual.page("balsam"))
    assert (f"_generated/balsam-{name}", f"balsam-{name}") in [p[:2] for p in manual.man_pages()]


def test_older_names_are_listed() -> None:
    hidden = {name for name, entry in cli.entries.items() if entry.hidden}
    lines = commands_page.older_names()
    assert {name for name in cli.entries if f"   * - ``balsam {name}``" in lines} == hidden


@click.command("shop")
@click.argument("kind", type=click.Choice(["apples", "pears"]))
@click.argument("words", nargs=-1)
def shop(kind: str, words: tuple[str, ...]) -> None:
    """Buy *things*
    of a kind.

    \b
    Examples:
      shop apples | eat
        --all

    \b
    kept
    as lines
    """


def test_help_arguments_and_examples_become_rst() -> None:
    context = click.Context(shop, info_name="shop")
    assert commands_page.help_text(shop) == [
        "Buy \\*things\\* of a kind.",
        "",
        "Examples:",
        "",
        ".. code-block:: text",
        "",
        "   shop apples | eat",
        "     --all",
        "",
        ".. code-block:: text",
        "",
        "   kept",
        "   as lines",
        "",
    ]
    (first, kinds), (_, words) = commands_page.arguments(shop, context)
    assert (first, kinds) == ("{apples|pears}", "one of ``apples``, ``pears``")
    assert words == "any number of them"


def test_text_is_escaped() -> None:
    assert rst.plain("a * b_ `c` |d|") == "a \\* b\\_ \\`c\\` \\|d\\|"
    assert rst.literal("") == ""
