"""Environment variables as text and as mappings."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.core.fields import parse_environ
from balsam.errors import InvalidValue

NAMES = st.text(string.ascii_letters + string.digits + "_", min_size=1).filter(
    lambda name: not name[0].isdigit()
)
VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
#: Text that reads as the beginning of the next variable can not be told from one.
AMBIGUOUS = re.compile(r":[A-Za-z_][A-Za-z0-9_]*=")


@given(st.dictionaries(NAMES, VALUES.filter(lambda value: not AMBIGUOUS.search(value))))
def test_text_and_mapping_are_two_forms_of_one_thing(environ: dict[str, str]) -> None:
    text = ":".join(f"{name}={content}" for name, content in environ.items())
    assert parse_environ(text) == environ


@given(st.dictionaries(NAMES, VALUES))
def test_a_mapping_holds_anything(environ: dict[str, str]) -> None:
    assert parse_environ(environ) == environ


@given(st.text())
def test_any_text_is_variables_or_an_error_in_words(text: str) -> None:
    try:
        environ = parse_environ(text)
    except InvalidValue:
        return
    assert all(re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name) for name in environ)


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        ("", {}),
        ("A=1", {"A": "1"}),
        ("A=1:B=2", {"A": "1", "B": "2"}),
        ("URL=http://host:80", {"URL": "http://host:80"}),
        ("URL=http://host:80:B=2", {"URL": "http://host:80", "B": "2"}),
        ("PATH=/a:/b:X=", {"PATH": "/a:/b", "X": ""}),
        ("LD_LIBRARY_PATH=/a:", {"LD_LIBRARY_PATH": "/a:"}),
        ("A=x=y", {"A": "x=y"}),
        ("A=1:A=2", {"A": "2"}),
        (":A=1", {"A": "1"}),
    ],
)
def test_a_colon_separates_only_before_a_name(text: str, environ: dict[str, str]) -> None:
    assert parse_environ(text) == environ


def test_values_of_a_mapping_become_text() -> None:
    assert parse_environ({"N": 3}) == {"N": "3"}
    assert parse_environ(None) == {}


@pytest.mark.parametrize("value", ["A", "1A=2", "{}", "=1", {"": "x"}, {"A B": "x"}, 7, ["A=1"]])
def test_what_is_no_environment_is_refused(value: object) -> None:
    with pytest.raises(InvalidValue):
        parse_environ(value)


def test_a_nul_character_is_refused_with_the_name_of_its_variable() -> None:
    with pytest.raises(InvalidValue, match="variable A "):
        parse_environ({"A": "\0"})
