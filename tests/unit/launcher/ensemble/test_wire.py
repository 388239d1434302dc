"""Frames in a stream: whatever the pieces and the noise, each arrives once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balsam.launcher.ensemble import wire
from balsam.platform.process import RunSpec

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ADDRESSES = st.sampled_from(["!", "n0", "nid000012.chn.example.gov"])
NOISE = st.binary(max_size=20).map(lambda data: data.replace(b"\x1e", b"").replace(b"\n", b" "))


@settings(deadline=None)
@given(st.lists(st.tuples(ADDRESSES, VALUES, NOISE), max_size=6), st.data())
def test_frames_survive_any_cut_and_noise_before_them(
    messages: list[tuple[str, Any, bytes]], data: st.DataObject
) -> None:
    stream = b"".join(noise + wire.frame(address, body) for address, body, noise in messages)
    assert stream.isascii() or any(not noise.isascii() for _, _, noise in messages)
    splitter, found = wire.Splitter(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += splitter.frames(stream[:size])
        stream = stream[size:]
    assert found == [(address, body) for address, body, _ in messages]


def test_what_others_print_is_kept_as_noise() -> None:
    splitter = wire.Splitter()
    assert splitter.frames(b"mpirun: a warning\r\n\n\x1en0 [1]\r\nabc\x1en0 {]\n\x1enothing\n") == [
        ("n0", [1])
    ]
    assert list(splitter.noise) == ["mpirun: a warning", "abc", "n0 {]", "nothing"]
    assert splitter.lines(b"") == []


def test_control_frames_are_known_without_being_read() -> None:
    assert wire.is_control(wire.control(beat=1.5))
    assert not wire.is_control(wire.frame("n0", {}))
    assert wire.parse(wire.control(beat=1.5)) == ("!", {"beat": 1.5})
    with pytest.raises(ValueError, match="without an address"):
        wire.parse(b"\x1e\n")


@settings(deadline=None)
@given(
    st.dictionaries(st.text(min_size=1), st.text()), st.dictionaries(st.text(min_size=1), st.text())
)
def test_an_environment_is_sent_as_a_difference(base: dict[str, str], env: dict[str, str]) -> None:
    spec = RunSpec(("/bin/true", "x"), "/tmp", env, "/tmp/out", True, False, (0, 2))
    packed = wire.parse(wire.frame("n0", wire.pack(spec, base)))[1]
    again = wire.unpack(packed, base)
    assert again.env == env
    assert (list(again.argv), again.cwd, again.output) == (["/bin/true", "x"], "/tmp", "/tmp/out")
    assert (again.append, again.sigpipe, again.cpus) == (True, False, (0, 2))


def test_names_that_are_no_text_arrive() -> None:
    name = b"r\xe9sultat".decode(errors="surrogateescape")
    assert wire.parse(wire.frame("n0", [name]))[1] == [name]
