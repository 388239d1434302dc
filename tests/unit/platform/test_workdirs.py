"""Names in the data directory: whatever a user calls things, they stay inside and are legal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.errors import InvalidValue
from balsam.platform import workdirs

ANY_TEXT = st.text() | st.text(alphabet="./-_ ~\0\\é\ud800a", max_size=300)


@given(ANY_TEXT, ANY_TEXT)
def test_a_component_is_always_one_legal_name(text: str, fallback: str) -> None:
    component = workdirs.safe_component(text, fallback)
    assert component not in ("", ".", "..")
    assert not set(component) & set("/\0 \\~$'\"\n")
    assert component[0] not in "-."
    assert len(component.encode()) <= workdirs.MAX_COMPONENT_BYTES


@given(ANY_TEXT, ANY_TEXT, st.from_regex(r"[0-9a-f]{8}", fullmatch=True))
def test_every_work_directory_lies_inside_the_data_directory(
    workflow: str, name: str, short_id: str
) -> None:
    path = workdirs.resolve("/p/data", workdirs.relative_workdir(workflow, name, short_id))
    assert os.path.normpath(path) == str(path)
    assert path.name.endswith(f"_{short_id}")
    levels = path.relative_to("/p/data").parts
    assert len(levels) == (2 if workflow.strip() else 1)


@given(st.text(alphabet="./a\0", max_size=12))
def test_resolve_gives_a_path_inside_or_refuses(relative: str) -> None:
    try:
        path = workdirs.resolve("/p/data", relative)
    except InvalidValue:
        return
    assert os.path.normpath(path).startswith("/p/data/")


@pytest.mark.parametrize("relative", ["", ".", "..", "a/../../b", "/etc", "a/..", "a\0b"])
def test_resolve_refuses_ways_out(relative: str) -> None:
    with pytest.raises(InvalidValue, match="does not lie inside"):
        workdirs.resolve("/p/data", relative)


def test_readable_names_stay_as_they_are() -> None:
    assert workdirs.relative_workdir("my flow", "eigen 3", "9a3c11f0") == "my_flow/eigen_3_9a3c11f0"
    assert workdirs.relative_workdir("", "run-1.5", "9a3c11f0") == "run-1.5_9a3c11f0"
    assert workdirs.relative_workdir("a/../b", "", "9a3c11f0") == "a_.._b/job_9a3c11f0"
    assert workdirs.safe_component("Größe Ω", "job") == "Größe_Ω"


@pytest.mark.parametrize("letter", ["a", "é", "Ω", "語", "😀"])
@pytest.mark.parametrize("number", [199, 200, 201, 400])
def test_a_name_of_legal_letters_is_cut_where_it_gets_too_long(letter: str, number: int) -> None:
    text = letter * number
    component = workdirs.safe_component(text, "job")
    assert component and set(component) <= {letter, "_"}
    assert len(component.encode()) <= workdirs.MAX_COMPONENT_BYTES
    if letter.isalpha():
        assert len(component.encode()) > workdirs.MAX_COMPONENT_BYTES - 4 or component == text


def test_letters_that_look_the_same_are_the_same() -> None:
    assert workdirs.safe_component("e\u0301t\u00e9", "job") == "\u00e9t\u00e9"


def test_own_files_are_recognised_and_nothing_else() -> None:
    own = workdirs.own_files("my job")
    for name in ("my_job.out", "my_job.out.3", "preprocess.log", "stage.log.1", "postprocess.log"):
        assert own.fullmatch(name)
    for name in ("other.out", "my_job.out.txt", "my_job_out", "postprocess.log.bak", "x.log"):
        assert not own.fullmatch(name)


def test_earlier_outputs_are_kept_beside_the_new_one(tmp_path: Path) -> None:
    output = tmp_path / "a.out"
    assert workdirs.keep_earlier(output) is None
    for text in ("first", "second"):
        output.write_text(text)
        workdirs.keep_earlier(output)
    assert (tmp_path / "a.out.1").read_text() == "first"
    assert (tmp_path / "a.out.2").read_text() == "second"
    output.write_text("fourth")
    assert workdirs.keep_earlier(output, 4) == tmp_path / "a.out.4"


def test_keeping_an_output_that_is_a_link_leaves_its_target_alone(tmp_path: Path) -> None:
    target = tmp_path / "parents"
    target.write_text("parent")
    (tmp_path / "a.out").symlink_to(target)
    workdirs.keep_earlier(tmp_path / "a.out")
    assert target.read_text() == "parent"
    assert not os.path.lexists(tmp_path / "a.out")
