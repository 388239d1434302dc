"""settings.yml: what is accepted, and what the errors say."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from balsam import errors
from balsam.conf import schema, settings, templates

SETTINGS = [
    (section, field)
    for section, kind in settings.SECTIONS.items()
    for field in dataclasses.fields(kind)
]
IDS = [f"{section}.{field.name}" for section, field in SETTINGS]


def parse(text: str) -> settings.Settings:
    return settings.parse(text, "settings.yml")


def refusal(text: str) -> str:
    with pytest.raises(errors.SettingsError) as caught:
        parse(text)
    return str(caught.value)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "{}", "~", "launcher:\njobs: {}\n"])
def test_what_is_not_set_has_its_default(text: str) -> None:
    assert parse(text) == settings.Settings()


@pytest.mark.parametrize("nothing", ["", "''", "{}", "null", "~"])
def test_a_setting_that_may_be_a_mapping_may_be_left_empty(nothing: str) -> None:
    assert parse(f"jobs:\n  retry: {nothing}") == settings.Settings()


def test_values_are_taken() -> None:
    result = parse(
        "launcher:\n  lease_seconds: 300\n  crash_limit: 3\nmpi: {mpirun: /opt/mpi/bin/mpirun}\n"
    )
    assert result.launcher.lease_seconds == 300.0
    assert isinstance(result.launcher.lease_seconds, float)
    assert result.launcher.crash_limit == 3
    assert result.mpi.mpirun == "/opt/mpi/bin/mpirun"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("launchr: {}", ["unknown section 'launchr'", "'launcher'?", "transitions"]),
        (
            "launcher:\n  heartbeat_secs: 3",
            ["line 2", "unknown setting 'heartbeat_secs'", "'heartbeat_seconds'?", "crash_limit"],
        ),
        (
            "launcher:\n  crash_limit: many",
            ["launcher.crash_limit is 'many'", "a whole number of at least 1"],
        ),
        ("launcher: {crash_limit: true}", ["crash_limit is true", "a whole number"]),
        ("launcher: {crash_limit: 2.0}", ["is 2.0", "a whole number"]),
        ("launcher: {crash_limit: 0}", ["is 0", "at least 1"]),
        ("launcher: {crash_limit:}", ["is empty", "at least 1"]),
        ("launcher: {crash_limit: [1]}", ["is a list"]),
        ("launcher: {crash_limit: {a: 1}}", ["is a group of settings"]),
        ("launcher: {lease_seconds: 0}", ["is 0", "above 0"]),
        ("launcher: {lease_seconds: .nan}", ["is .nan", "a number"]),
        ("launcher: {lease_seconds: .inf}", ["is .inf", "at most 2000000"]),
        ("launcher: {lease_seconds: no}", ["is no", "a number above 0"]),
        ("launcher: {lease_seconds: 1" + "0" * 4000 + "}", ["is 1000", "at most 2000000"]),
        ("launcher: {lease_seconds: 1" + "0" * 9000 + "}", ["'1000"]),
        ("mpi: {flags: 3}", ["mpi.flags is 3", "text"]),
        ("mpi: {flavour: mpic}", ["'mpic'", "one of auto, mpich, openmpi, openmpi4"]),
        ("mpi: {mpirun: !!timestamp soon}", ["'soon' is not a value of type timestamp"]),
        ("jobs: 5", ["jobs is '5'", "name: value"]),
        ("- a\n- b", ["settings.yml is a list", "sections"]),
        ("launcher: {crash_limit: 1, crash_limit: 2}", ["'crash_limit' twice"]),
        ("launcher: {heartbeat_seconds: 60}", ["heartbeat_seconds is 60", "which is 120"]),
        ("launcher: {lease_seconds: 30}", ["heartbeat_seconds is 15", "which is 30"]),
        ("launcher:\n\tcrash_limit: 1", ["line 2: not valid YAML", "'\\t'"]),
        ("a: 1\nb: [", ["line 2: not valid YAML"]),
        ("a: 1\nb: \a", ["line 2: not valid YAML"]),
        ("[" * 100_000, ["not valid YAML"]),
        ("a: 1\n---\nb: 2", ["not valid YAML"]),
        ("&a [*a]", ["a list"]),
        ('"\\UFFFFFFFF": 1', ["not valid YAML"]),
        ("? [a]\n: b", ["unknown section"]),
    ],
)
def test_errors_say_where_what_and_what_is_allowed(text: str, words: list[str]) -> None:
    message = refusal(text)
    assert message.startswith("settings.yml")
    assert "\n" not in message
    assert len(message) < 1000
    for word in words:
        assert word in message


def test_an_alias_is_reported_where_it_is_used() -> None:
    message = refusal("mpi:\n  flags: &it hello\njobs:\n  max_attempts: *it\n")
    assert "line 4: jobs.max_attempts is 'hello'" in message


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"launcher: \xc3"])
def test_a_file_that_can_not_be_read(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "settings.yml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(errors.SettingsError, match=re.escape(str(file))):
        settings.load(file)
    with pytest.raises(errors.SettingsError, match=re.escape(str(tmp_path))):
        settings.load(tmp_path)


def test_load_reads_utf8_with_or_without_mark(tmp_path: Path) -> None:
    file = tmp_path / "settings.yml"
    for encoding in ("utf-8", "utf-8-sig"):
        file.write_text("mpi: {flags: '--ä'}", encoding=encoding)
        assert settings.load(file).mpi.flags == "--ä"


@pytest.mark.parametrize(("section", "field"), SETTINGS, ids=IDS)
def test_each_setting_explains_itself(section: str, field: dataclasses.Field[object]) -> None:
    assert field.metadata["help"].endswith(".")
    assert schema.expected(field)
    text = yaml.safe_dump({section: {field.name: field.default}})
    assert parse(text) == settings.Settings()
    if isinstance(field.default, bool):
        assert "expected true or false" in refusal(yaml.safe_dump({section: {field.name: 1}}))
    elif isinstance(field.default, (int, float)):
        assert str(field.metadata["most"])[:1] in schema.expected(field)
        assert "expected" in refusal(yaml.safe_dump({section: {field.name: -1}}))


def test_the_template_shows_every_setting_with_its_default() -> None:
    values = {"engine": "sqlite", "journal_mode": "wal", "url": "", "password_file": ""}
    text = templates.render(templates.text("settings.yml"), values, name="settings.yml")
    assert parse(text) == settings.Settings()
    shown = yaml.safe_load(re.sub(r"^  # (\w+: \S+)$", r"  \1", text, flags=re.MULTILINE))
    assert shown == dataclasses.asdict(settings.Settings())


words = st.sampled_from([*settings.SECTIONS, *(field.name for _, field in SETTINGS)]) | st.text()
trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)
pieces = st.sampled_from(
    ["launcher", "lease_seconds", "mpi", ": ", "\n", "\n  ", "- ", "[", "]", "{", "}", ", ", "'"]
    + ['"', "&a ", "*a", "!!int ", "!!timestamp ", "!!bool ", "!!binary ", "<<", "? ", "|\n", "%"]
    + ["1_0", "0x", "1:30", ".", "2001-99-99", "~", "#", "\\", "\t", "---", "!x%FF ", "!<", "auto"]
)


@given(trees.map(lambda tree: yaml.safe_dump(tree, allow_unicode=True)))
def test_any_yaml_is_settings_or_a_settings_error(text: str) -> None:
    accepted_or_refused(text)


@given(st.lists(pieces, max_size=16).map("".join) | st.text())
def test_any_text_is_settings_or_a_settings_error(text: str) -> None:
    accepted_or_refused(text)


@given(
    st.sampled_from(SETTINGS),
    st.integers() | st.floats() | st.booleans() | st.text(max_size=5) | st.none(),
)
def test_what_is_accepted_has_the_type_of_its_default(
    setting: tuple[str, dataclasses.Field[object]], value: object
) -> None:
    section, field = setting
    accepted = accepted_or_refused(yaml.safe_dump({section: {field.name: value}}))
    if accepted is not None:
        result = getattr(getattr(accepted, section), field.name)
        assert type(result) is type(field.default)
        # What has a check of its own may be spelled in another way.
        written = "" if value is None else str(value)
        assert result == value or ("spell" in field.metadata and not written.strip(" ,;"))


def accepted_or_refused(text: str) -> settings.Settings | None:
    with contextlib.suppress(errors.SettingsError):
        return parse(text)
    return None
