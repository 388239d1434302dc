"""Identities of jobs."""

from __future__ import annotations

import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.core import ids
from balsam.errors import InvalidValue


def milliseconds(key: uuid.UUID) -> int:
    return key.int >> 80


def test_a_uuid_has_the_version_7_layout() -> None:
    key = ids.new_uuid()
    assert key.version == 7
    assert key.variant == uuid.RFC_4122


def test_uuids_are_in_time_order_and_differ() -> None:
    before = time.time_ns() // 1_000_000
    made = [ids.new_uuid() for _ in range(5000)]
    after = time.time_ns() // 1_000_000
    times = [milliseconds(key) for key in made]
    assert times == sorted(times)
    assert before <= times[0] and times[-1] <= after
    assert len(set(made)) == len({ids.short_id(key) for key in made}) + _same_ends(made)


def _same_ends(made: list[uuid.UUID]) -> int:
    return len(made) - len({key.hex[-8:] for key in made})


@given(st.integers(0, (1 << 47) - 1), st.integers(1, 10_000_000))
def test_a_later_uuid_sorts_after_an_earlier_one(start: int, later: int) -> None:
    clock = iter([start * 1_000_000, (start + later) * 1_000_000])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time_ns", lambda: next(clock))
        first, second = ids.new_uuid(), ids.new_uuid()
    assert first < second
    assert first.hex < second.hex
    assert str(first) < str(second)


def test_a_short_id_is_the_random_end() -> None:
    key = uuid.UUID("01890a5d-ac96-774b-bcce-b302099a8057")
    assert ids.short_id(key) == "099a8057"


@given(st.uuids())
def test_a_uuid_is_read_in_every_spelling(key: uuid.UUID) -> None:
    for spelled in (key, str(key), key.hex, str(key).upper()):
        assert ids.as_uuid(spelled) == key


@pytest.mark.parametrize("value", ["", "17", 17, None, "x" * 32, "0" * 31, b"0" * 32])
def test_what_is_no_uuid_is_none(value: object) -> None:
    assert ids.as_uuid(value) is None


def test_a_label_is_the_name_and_the_short_id() -> None:
    key = uuid.UUID("01890a5d-ac96-774b-bcce-b302099a8057")
    assert ids.label("scan", key) == "[scan | 099a8057]"
    assert ids.label("", key) == "[099a8057]"


@pytest.mark.parametrize(
    ("given", "listed"),
    [
        (7, [7]),
        ("7", ["7"]),
        (uuid.UUID(int=7), [uuid.UUID(int=7)]),
        ([7, "8"], [7, "8"]),
        (iter((7, 8)), [7, 8]),
        ('["7", "8"]', ["7", "8"]),
        ("[]", []),
        ("", []),
        (None, []),
        ((), []),
    ],
)
def test_several_are_given_as_one_or_many(given: object, listed: list[object]) -> None:
    assert ids.several(given) == listed


def test_text_that_is_no_list_is_refused() -> None:
    with pytest.raises(InvalidValue, match=r"\[7"):
        ids.several("[7")
