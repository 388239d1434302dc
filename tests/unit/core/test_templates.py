"""What may stand in braces, and what it becomes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.core.sweeps.templates import Template, is_template, number
from balsam.errors import InvalidValue

plain = st.text(st.characters(codec="utf-8", exclude_characters="{}\r\n\0"), max_size=8)
values = st.one_of(plain, st.integers(), st.floats(allow_nan=False, allow_infinity=False))


@given(st.lists(st.tuples(plain, st.sampled_from(["a", "b"])), min_size=1), plain, values, values)
def test_plain_names_are_put_in(
    pieces: list[tuple[str, str]], end: str, a: object, b: object
) -> None:
    row = {"a": a, "b": b}
    template = Template("".join(f"{text}{{{{ {name} }}}}" for text, name in pieces) + end, "args")
    wanted = "".join(f"{text}{row[name]}" for text, name in pieces) + end
    assert template(row) == wanted
    assert template.names == {name for _, name in pieces}
    slow = Template(template.text + "{{ '' }}", "args")
    assert slow(row) == wanted, "Jinja2 gives the same"


@given(st.text("{}%#ax+' |()", max_size=16))
def test_any_text_is_a_template_or_one_sentence(text: str) -> None:
    try:
        template = Template(text, "args")
        template.check({"a", "x"})
        template({"a": "1", "x": "word"})
    except InvalidValue as error:
        assert "args" in str(error)


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{{ n * 2 }}", "14"),
        ("{{ n }}-{{ n + 1 }}", "007-8"),
        ("{{ f }} {{ f * 2 }}", "1.50 3.0"),
        ("{{ '%04d' % n }}", "0007"),
        ("{{ 'big' if f > 1 else 'small' }}", "big"),
        ("{{ w | upper }}", "IT'S"),
        ("-x {{ w | quote }}", "-x 'it'\"'\"'s'"),
        ("{% for i in range(2) %}{{ w }}{{ i }}{% endfor %}", "it's0it's1"),
        ("{{ '{{' }} {{ n }}", "{{ 007"),
        ("100% {{ n }} {{ w }}\n", "100% 007 it's\n"),
    ],
)
def test_numbers_are_numbers_that_keep_their_spelling(text: str, filled: str) -> None:
    row = {"n": "007", "f": "1.50", "w": "it's"}
    assert Template(text, "args")(row) == filled


@given(st.from_regex(r"[+-]?(\d{1,5}|\d{1,3}\.\d{0,3}|\.\d{1,3})(e[+-]?\d)?", fullmatch=True))
def test_a_number_prints_as_it_was_written(text: str) -> None:
    found = number(text)
    assert isinstance(found, (int, float))
    assert str(found) == text
    assert found == float(text)


@pytest.mark.parametrize("text", ["", "x", "1_000", "nan", "inf", "0x1", "1,5", " 1", "--1", "1e"])
def test_what_is_no_number_stays_text(text: str) -> None:
    assert number(text) is text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{{ x", "is no template"),
        ("{{ x }", "is no template"),
        ("{% if x %}", "is no template"),
        ("{{ x | nope }}", "is no template"),
        ("{{ 1 / 0 }}{{ x }}", "division by zero"),
        ("{{ x.y }}", "can not be filled in"),
        ("{{ x.__class__.__mro__ }}", "can not be filled in"),
        ("{{ range(1000000000) | length }}{{ x }}", "can not be filled in"),
    ],
)
def test_what_can_not_be_filled_in(text: str, words: str) -> None:
    with pytest.raises(InvalidValue, match=words) as error:
        Template(text, "args")({"x": "word"})
    assert str(error.value).startswith("args: ")


@pytest.mark.parametrize("text", ["{{ x | bogus }}", "{{ x "])
def test_errors_are_one_line_without_places_in_code(text: str) -> None:
    with pytest.raises(InvalidValue) as error:
        Template(text, "args")
    assert "\n" not in str(error.value) and "introspection" not in str(error.value)
    assert str(error.value).endswith(".") and not str(error.value).endswith("..")


def test_an_unknown_name_suggests_the_nearest() -> None:
    template = Template("{{ temprature }}", "name")
    with pytest.raises(InvalidValue, match=r"name: .*temprature.*did you mean 'temperature'\?"):
        template.check(["temperature", "pressure"])
    with pytest.raises(InvalidValue, match="there are p, t"):
        template.check(["t", "p"])


def test_only_text_with_braces_is_a_template() -> None:
    assert is_template("a {{ b }}") and is_template("{% if x %}")
    assert not any(map(is_template, ["a { b }", "", 3, None, ["{{ x }}"]]))
