"""What the documentation is made with: the code blocks of a page, and pages made from the code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from balsam_docs import blocks, commands_page, models_page, rst, settings_page, states_page

from balsam import states
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


def test_text_is_escaped() -> None:
    assert rst.plain("a * b_ `c` |d|") == "a \\* b\\_ \\`c\\` \\|d\\|"
    assert rst.literal("") == ""
