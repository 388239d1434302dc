"""Values of fields, from text and from Python."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from balsam.core.models import ApplicationDefinition, BalsamJob
from balsam.core.values import ABSURD, checked, from_text
from balsam.errors import InvalidValue


def field(name: str) -> Any:
    return BalsamJob._meta.get_field(name)


@pytest.mark.parametrize("text", ["False", "false", "no", "n", "0", "off", " FALSE "])
def test_false_means_false(text: str) -> None:
    assert from_text(field("wait_for_parents"), text) is False


@pytest.mark.parametrize("text", ["True", "true", "yes", "Y", "1", "on"])
def test_true_means_true(text: str) -> None:
    assert from_text(field("post_error_handler"), text) is True


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("num_nodes", "4", 4),
        ("priority", "-3", -3),
        ("gpus_per_rank", "0.5", 0.5),
        ("time_limit_minutes", "2", 2.0),
        ("name", "007", "007"),
        ("args", "a  'b c'", "a  'b c'"),
        ("data", '{"x": [1]}', {"x": [1]}),
        ("environ_vars", "URL=http://h:80:B=1", {"URL": "http://h:80", "B": "1"}),
        ("tags", "{}", {}),
        ("return_code", "3", 3),
    ],
)
def test_text_becomes_what_the_field_holds(name: str, text: str, value: object) -> None:
    assert from_text(field(name), text) == value


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [
        ("wait_for_parents", "maybe", "true or false"),
        ("num_nodes", "4.5", "whole number"),
        ("num_nodes", "", "whole number"),
        ("gpus_per_rank", "half", "number"),
        ("gpus_per_rank", "nan", "number"),
        ("data", "{", "JSON"),
        ("data", "[1]", "dict"),
        ("environ_vars", "A", "NAME=VALUE"),
        ("job_id", "x", "by hand"),
        ("state_timestamp", "today", "by hand"),
    ],
)
def test_what_does_not_fit_says_what_would(name: str, text: str, word: str) -> None:
    with pytest.raises(InvalidValue, match=word):
        from_text(field(name), text)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_nodes", True),
        ("num_nodes", "4"),
        ("num_nodes", 4.0),
        ("gpus_per_rank", math.nan),
        ("gpus_per_rank", "1"),
        ("wait_for_parents", "False"),
        ("wait_for_parents", 2),
        ("name", 7),
        ("name", "a\0b"),
        ("data", [1]),
        ("data", "text"),
        ("data", {"a": {1}}),
        ("data", {"a": [math.nan]}),
        ("tags", 1),
        ("environ_vars", 1),
    ],
)
def test_values_of_another_type_are_refused(name: str, value: object) -> None:
    with pytest.raises(InvalidValue, match=f"{name}|Environment"):
        checked(field(name), value)


def test_numbers_have_bounds() -> None:
    assert checked(field("num_nodes"), 1, 1) == 1
    for value in (0, -1, ABSURD + 1):
        with pytest.raises(InvalidValue, match="num_nodes is at"):
            checked(field("num_nodes"), value, 1)


def test_numbers_that_no_database_column_holds_are_refused() -> None:
    for value in (2**31, -(2**31) - 1, 2**63):
        with pytest.raises(InvalidValue, match="priority"):
            checked(field("priority"), value)
    with pytest.raises(InvalidValue):
        checked(field("gpus_per_rank"), math.inf, 0)


def test_whole_numbers_fit_where_fractions_do_and_none_where_a_column_can_be_null() -> None:
    assert checked(field("gpus_per_rank"), 2) == 2
    assert checked(field("wait_for_parents"), 1) is True
    assert checked(field("return_code"), None) is None
    with pytest.raises(InvalidValue, match="num_nodes"):
        checked(field("num_nodes"), None)


def test_fields_of_applications_are_read_from_text_too() -> None:
    parameters = ApplicationDefinition._meta.get_field("parameters")
    assert from_text(parameters, '{"a": 1}') == {"a": 1}


def test_numbers_of_numpy_are_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    for name, value in (
        ("num_nodes", numpy.int64(4)),
        ("num_nodes", numpy.uint8(4)),
        ("gpus_per_rank", numpy.float32(0.5)),
        ("gpus_per_rank", numpy.int32(1)),
        ("wait_for_parents", numpy.bool_(False)),
    ):
        plain = checked(field(name), value)
        assert plain == value and type(plain) in (int, float, bool)
    for name, value in (("num_nodes", numpy.float64(4)), ("gpus_per_rank", numpy.nan)):
        with pytest.raises(InvalidValue):
            checked(field(name), value)


def test_paths_are_text(tmp_path: Path) -> None:
    assert checked(field("stage_in_url"), tmp_path) == str(tmp_path)
    with pytest.raises(InvalidValue, match="text"):
        checked(field("stage_in_url"), 7)


@pytest.mark.parametrize("given", ["work", "./work", "../here/work", Path("work")])
def test_a_directory_is_kept_in_full(
    given: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert checked(field("user_workdir"), given) == str(here / "work")
    assert checked(field("user_workdir"), "") == ""
    here.rmdir()
    with pytest.raises(InvalidValue, match="full path"):
        checked(field("user_workdir"), given)
