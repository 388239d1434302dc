"""YAML as a tree that knows its lines."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from balsam.conf.yaml_nodes import Node, parse
from balsam.errors import InvalidValue

scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5))
trees = st.recursive(
    scalars,
    lambda below: st.one_of(
        st.lists(below, max_size=3), st.dictionaries(st.text("abc", min_size=1), below, max_size=3)
    ),
    max_leaves=8,
)


@given(trees.filter(lambda tree: tree is not None))
def test_what_was_dumped_comes_back(tree: Any) -> None:
    assert parse(yaml.safe_dump(tree), "f").plain() == tree


@given(st.text("ab:- \n[]{},'\"&*<>|!#%@?1\0\t", max_size=30))
def test_any_text_is_a_tree_or_one_sentence(text: str) -> None:
    try:
        assert isinstance(parse(text, "the file"), Node)
    except InvalidValue as error:
        assert str(error).startswith("the file")
        assert str(error).endswith(".")


def test_lines_and_spellings() -> None:
    node = parse("a: 010\nb:\n  - x\n  - yes\nc: {d: 1:30}\n", "f")
    assert node.value["a"].text == "010"
    assert [one.line for one in node.value["b"].value] == [3, 4]
    assert node.value["b"].value[1].text == "yes"
    assert (node.value["c"].value["d"].text, node.value["c"].value["d"].line) == ("1:30", 5)
    assert str(node.value["b"].error("no.")) == "f, line 2: no."


def test_anchors_and_merges() -> None:
    node = parse("a: &a\n  x: 1\n  y: 2\nb:\n  <<: *a\n  y: 3\nc: *a\n", "f")
    assert node.plain()["b"] == {"x": 1, "y": 3}
    assert node.value["c"].line == 7


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "f is empty"),
        ("a: [1\nb: 2\n", "line 2"),
        ("a: 1\n\tb: 2\n", "line 2"),
        ("a: 1\nb: 2\na: 3\n", "line 3: 'a' is given twice"),
        ("a: 1\n? [x]\n: 2\n", "line 2: a name is a word"),
        ("a:\n  b: &b [*b]\n", "nested too deeply"),
        ("a: !!python/object:os.system x\n", "line 1"),
        ("a: 2020-99-99\n", "line 1"),
        ("a: 1\n---\nb: 2\n", "line 2"),
        ("a: *nope\n", "line 1"),
        ("a: {<<: 3}\n", "line 1"),
    ],
)
def test_malformed_text_names_the_line(text: str, words: str) -> None:
    with pytest.raises(InvalidValue, match=words):
        parse(text, "f")


@pytest.mark.parametrize("text", ["a: {}", "a: [1]", "a:", "a: ~"])
def test_what_is_no_text(text: str) -> None:
    with pytest.raises(InvalidValue, match="line 1: it is .*; write text"):
        parse(text, "f").value["a"].written("it")
