"""Secrets do not leave the machine, and ordinary text stays readable."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.doctor.masking import MASK, Mask, is_secret


@pytest.mark.parametrize(
    "name",
    ["API_TOKEN", "DB_PASSWORD", "passwd", "AWS_SECRET_ACCESS_KEY", "ssh-key", "My.ApiKey"],
)
def test_names_of_secrets(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize("name", ["PATH", "HOME", "KEYBOARD", "KeyError", "wall_minutes"])
def test_names_of_no_secrets(name: str) -> None:
    assert not is_secret(name)


@pytest.mark.parametrize(
    "text",
    [
        "API_TOKEN={}",
        "export DB_PASSWORD='{}'",
        'password: "{}"',
        "password: {} and more of it",
        "{{'SECRET_KEY': '{}', 'HOME': '/home/me'}}",
        "{{'SECRET': b'{}'}}",
        "curl --token {} https://example.org",
        "prog --password='{} with spaces' -n 2",
        "-api-key {}",
        "https://me:{}@example.org/path",
        "postgres://{}@host:5432/db",
        "Authorization: Bearer {}",
        "sent 'Basic {}' to it",
        "-----BEGIN RSA PRIVATE KEY-----\n{}\nabc\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\n{}\ncut off here",
        "https://example.org/?access_token={}&page=2",
    ],
)
def test_a_secret_is_not_in_the_masked_text(text: str) -> None:
    secret = "hunter2hunter2"
    masked = Mask().text(text.format(secret))
    assert secret not in masked
    assert MASK in masked


def test_what_stands_around_a_secret_stays() -> None:
    mask = Mask()
    assert mask.text("{'TOKEN': 'abc', 'HOME': '/home/me'}") == (
        f"{{'TOKEN': {MASK}, 'HOME': '/home/me'}}"
    )
    assert mask.text("ran prog --token abc -n 2") == f"ran prog --token {MASK} -n 2"
    assert mask.text("get ftp://me:pw@host/file to /x") == f"get ftp://{MASK}@host/file to /x"


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21T06:49:00.123Z|17|INFO|main:62] launcher 17 in /tmp/p: LauncherOptions()",
        "KeyError: 'name'",
        "recovered session 3: 2 of 4 leased jobs",
        "the file has 3 keys and no password in it",
        "mail me@example.org",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert Mask().text(text) == text


def test_secret_values_of_the_environment_are_masked_wherever_they_turn_up() -> None:
    mask = Mask({"MY_TOKEN": "correct-horse", "HOME": "/home/me", "SHORT_KEY": "abc"})
    assert mask.text("he said correct-horse in /home/me, abc") == f"he said {MASK} in /home/me, abc"


def test_tokens_of_well_known_services_are_masked_without_a_name() -> None:
    for token in ("ghp_" + "a1" * 18, "AKIA" + "A1" * 8, "xoxb-123456789012-abc"):
        assert Mask().text(f"used {token} there") == f"used {MASK} there"


def test_values_are_masked_by_the_names_above_them() -> None:
    plain = {
        "environ_vars": {"API_KEY": "abc", "N": "1"},
        "list": [{"password": ["x", {"deep": "y"}]}, "a=1"],
        "secret": None,
        "tokens": 5,
    }
    assert Mask().value(plain) == {
        "environ_vars": {"API_KEY": MASK, "N": "1"},
        "list": [{"password": [MASK, {"deep": "y"}]}, "a=1"],
        "secret": None,
        "tokens": MASK,
    }


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner),
    max_leaves=10,
)


@given(VALUES)
def test_a_masked_value_is_one_that_json_can_write(value: object) -> None:
    json.dumps(Mask({"A_TOKEN": "secret-value"}).value(value))


@given(st.text(alphabet="ab=: '\"\n{}k", max_size=40))
def test_a_known_secret_never_survives(text: str) -> None:
    assert "s3cr3t-value" not in Mask({"A_KEY": "s3cr3t-value"}).text(f"{text}s3cr3t-value{text}")


@pytest.mark.parametrize("unit", ["a", "key", "-", "token ", "--key ", "://", "eyJ.", "='"])
def test_long_lines_do_not_take_for_ever(unit: str) -> None:
    """In a process of its own, for one that does could not be interrupted."""
    code = f"from balsam.doctor.masking import Mask; Mask().text({unit!r} * 200_000)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
