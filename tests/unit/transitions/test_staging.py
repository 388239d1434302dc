"""Staging: work directories, links to parents' files, results out."""

from __future__ import annotations

import fnmatch
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam import states
from balsam.errors import InvalidValue, TransferError
from balsam.transitions import staging
from balsam.transitions.spec import STAGE_IN, STAGE_OUT, ParentFiles, StepSpec


def make_parent(data: Path, name: str, short_id: str, *files: str) -> ParentFiles:
    directory = data / f"{name}_{short_id}"
    directory.mkdir(parents=True)
    for file in files:
        (directory / file).parent.mkdir(exist_ok=True)
        (directory / file).write_text(f"{name}/{file}")
    return ParentFiles(directory.name, name, short_id)


def spec_for(data: Path, *parents: ParentFiles, **fields: str) -> StepSpec:
    return StepSpec(
        token="t1",
        job_id=1,
        kind=fields.pop("kind", STAGE_IN),
        label="[child | 11223344]",
        state=states.READY,
        done_state=fields.pop("done_state", states.STAGED_IN),
        workdir=fields.pop("workdir", "wf/child_11223344"),
        data_dir=str(data),
        parents=parents,
        input_files=fields.pop("input_files", "*"),
        **fields,  # type: ignore[arg-type]
    )


def links(workdir: Path) -> dict[str, str]:
    """The links by name, with the real paths of what they lead to."""
    found = {path.name: os.path.realpath(path) for path in sorted(workdir.iterdir())}
    assert all((workdir / name).is_symlink() for name in found)
    return found


def test_makes_the_work_directory(tmp_path: Path) -> None:
    outcome = staging.stage_in(spec_for(tmp_path))
    assert (outcome.state, outcome.message) == (states.STAGED_IN, "")
    assert (tmp_path / "wf" / "child_11223344").is_dir()


def test_links_parents_files_but_not_balsams_own(tmp_path: Path) -> None:
    parent = make_parent(
        tmp_path, "p", "aaaaaaaa",
        "m.npy", ".dot", "p.out", "p.out.1", "preprocess.log", "postprocess.log", "other.out",
    )  # fmt: skip
    outcome = staging.stage_in(spec_for(tmp_path, parent))
    workdir = tmp_path / "wf" / "child_11223344"
    assert links(workdir) == {
        name: str(tmp_path / "p_aaaaaaaa" / name) for name in ("m.npy", "other.out")
    }
    assert outcome.message == "2 files linked from parents"


def test_only_what_input_files_names(tmp_path: Path) -> None:
    parent = make_parent(tmp_path, "p", "aaaaaaaa", "a.npy", "b.npy", "c.txt", "it's 1.txt")
    staging.stage_in(spec_for(tmp_path, parent, input_files='a* "it\'s 1.txt"'))
    assert sorted(os.listdir(tmp_path / "wf" / "child_11223344")) == ["a.npy", "it's 1.txt"]


def test_clashing_names_get_the_short_id_and_a_rerun_changes_nothing(tmp_path: Path) -> None:
    parents = [
        make_parent(tmp_path, name, short_id, "eigvals.npy", "data.tar.gz")
        for name, short_id in (("a", "aaaaaaaa"), ("b", "bbbbbbbb"))
    ]
    spec = spec_for(tmp_path, *parents)
    workdir = tmp_path / "wf" / "child_11223344"
    staging.stage_in(spec)
    first = links(workdir)
    assert set(first) == {
        "eigvals.npy", "eigvals_bbbbbbbb.npy", "data.tar.gz", "data_bbbbbbbb.tar.gz",
    }  # fmt: skip
    assert staging.stage_in(spec).message == "4 files linked from parents"
    assert links(workdir) == first
    os.unlink(workdir / "eigvals.npy")
    staging.stage_in(spec)
    assert links(workdir) == first


def test_both_names_taken_is_a_note(tmp_path: Path) -> None:
    parent = make_parent(tmp_path, "p", "aaaaaaaa", "x.dat")
    workdir = tmp_path / "wf" / "child_11223344"
    workdir.mkdir(parents=True)
    for name in ("x.dat", "x_aaaaaaaa.dat"):
        (workdir / name).write_text("mine")
    outcome = staging.stage_in(spec_for(tmp_path, parent))
    assert outcome.state == states.STAGED_IN
    assert "x.dat of parent aaaaaaaa not linked" in outcome.message
    assert (workdir / "x.dat").read_text() == "mine"


def test_the_childs_own_output_name_is_never_a_link(tmp_path: Path) -> None:
    parent = make_parent(tmp_path, "p", "aaaaaaaa", "child.out")
    staging.stage_in(spec_for(tmp_path, parent))
    assert os.listdir(tmp_path / "wf" / "child_11223344") == ["child_aaaaaaaa.out"]


def test_links_lead_to_the_real_file(tmp_path: Path) -> None:
    first = make_parent(tmp_path, "a", "aaaaaaaa", "x.dat")
    second = make_parent(tmp_path, "b", "bbbbbbbb")
    (tmp_path / "b_bbbbbbbb" / "x.dat").symlink_to(tmp_path / "a_aaaaaaaa" / "x.dat")
    (tmp_path / "b_bbbbbbbb" / "dead").symlink_to("nowhere")
    staging.stage_in(spec_for(tmp_path, first, second))
    assert links(tmp_path / "wf" / "child_11223344") == {
        "x.dat": str(tmp_path / "a_aaaaaaaa" / "x.dat")
    }


@pytest.mark.parametrize("layout", ["plain", "data elsewhere", "work directory is a link"])
def test_links_hold_after_the_project_was_moved(tmp_path: Path, layout: str) -> None:
    project = tmp_path / "project"
    project.mkdir()
    data = project / "data"
    if layout == "data elsewhere":
        (tmp_path / "deep" / "scratch").mkdir(parents=True)
        data.symlink_to(tmp_path / "deep" / "scratch")
    parent = make_parent(data, "p", "aaaaaaaa", "x.dat")
    if layout == "work directory is a link":
        (data / "a" / "b").mkdir(parents=True)
        (data / "wf").symlink_to("a/b")
    staging.stage_in(spec_for(data, parent))
    moved = project.rename(tmp_path / "moved") / "data"
    link = moved / "wf" / "child_11223344" / "x.dat"
    assert link.read_text() == "p/x.dat" and not os.path.isabs(os.readlink(link))
    assert staging.stage_in(spec_for(moved, parent)).message == "1 file linked from parents"
    assert os.listdir(link.parent) == ["x.dat"]


def test_links_to_and_from_elsewhere_are_absolute(tmp_path: Path) -> None:
    data, away = tmp_path / "data", tmp_path / "away"
    inside = make_parent(data, "p", "aaaaaaaa", "x.dat")
    outside = make_parent(away, "q", "bbbbbbbb", "y.dat")
    outside = ParentFiles(str(away / outside.workdir), outside.name, outside.short_id)
    staging.stage_in(spec_for(data, inside, outside))
    staging.stage_in(spec_for(data, inside, workdir=str(tmp_path / "mine")))
    (data / "linked").symlink_to(tmp_path / "mine")
    staging.stage_in(spec_for(data, outside, workdir="linked"))
    child, mine = data / "wf" / "child_11223344", tmp_path / "mine"
    assert os.readlink(child / "x.dat") == "../../p_aaaaaaaa/x.dat"
    assert (
        os.readlink(child / "y.dat")
        == os.readlink(mine / "y.dat")
        == str(away / "q_bbbbbbbb" / "y.dat")
    )
    assert os.readlink(mine / "x.dat") == str(data / "p_aaaaaaaa" / "x.dat")


def test_a_missing_parent_directory_has_no_files(tmp_path: Path) -> None:
    outcome = staging.stage_in(spec_for(tmp_path, ParentFiles("gone_00000000", "gone", "00000000")))
    assert outcome.state == states.STAGED_IN


def test_what_is_copied_in_keeps_its_name(tmp_path: Path) -> None:
    parent = make_parent(tmp_path / "data", "p", "aaaaaaaa", "x.dat")
    (tmp_path / "x.dat").write_text("staged")
    spec = spec_for(tmp_path / "data", parent, url=f"local:{tmp_path}/x.dat")
    workdir = tmp_path / "data" / "wf" / "child_11223344"
    for _ in range(2):
        staging.stage_in(spec)
        assert (workdir / "x.dat").read_text() == "staged"
        assert (workdir / "x_aaaaaaaa.dat").read_text() == "p/x.dat"
        assert len(os.listdir(workdir)) == 2
    assert (tmp_path / "data" / "p_aaaaaaaa" / "x.dat").read_text() == "p/x.dat"


def test_an_unmakeable_work_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "wf").write_text("in the way")
    with pytest.raises(TransferError, match="can not make the work directory"):
        staging.stage_in(spec_for(tmp_path))
    with pytest.raises(InvalidValue):
        staging.stage_in(spec_for(tmp_path, workdir="../outside"))


def test_stage_out(tmp_path: Path) -> None:
    workdir = tmp_path / "mine"
    workdir.mkdir()
    (workdir / "r.npy").write_text("r")
    out = tmp_path / "out"
    fields = {"kind": STAGE_OUT, "done_state": states.JOB_FINISHED, "workdir": str(workdir)}
    outcome = staging.stage_out(spec_for(tmp_path, url=str(out), files="*.npy", **fields))
    assert outcome.state == states.JOB_FINISHED
    assert outcome.message == f"1 file copied to {out}"
    nothing = staging.stage_out(spec_for(tmp_path, url=str(out), files="*.x", **fields))
    assert nothing.state == states.JOB_FINISHED and "nothing matched" in nothing.message


NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=80
).filter(lambda name: not name.startswith("."))


@given(NAMES, st.from_regex(r"[0-9a-f]{8}", fullmatch=True))
def test_a_clashing_name_is_new_legal_and_still_matches(name: str, short_id: str) -> None:
    other = staging.clashing_name(name, short_id)
    assert other != name and short_id in other and len(os.fsencode(other)) <= 255
    stem, suffix = os.path.splitext(name)
    assert other.endswith(suffix)
    if len(os.fsencode(name)) < 200:
        assert len(other) == len(name) + 9
        escaped = stem.replace("[", "[[]").replace("*", "[*]").replace("?", "[?]")
        assert "." in stem or fnmatch.fnmatchcase(other, escaped + "*")
