"""File systems: their type, whether they are shared, whether they lock."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.conf import filesystem

MOUNTS = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw
28 27 0:30 / /home rw - autofs systemd-1 rw,fd=45
29 28 0:31 / /home/anna rw,relatime - nfs4 server:/export/anna rw,vers=4.2
30 27 0:32 / /lus/grand rw - lustre 10.0.0.1@o2ib:/grand rw
31 27 0:33 / /mnt/two\040words rw - beegfs beegfs_nodev rw
32 27 0:34 / /mnt/twice rw - xfs /dev/vdb rw
33 32 0:35 / /mnt/twice rw - fuse.sshfs me@there: rw
34 27 0:36 / /short rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/work/campaign", "ext4"),
        ("/home/anna", "nfs4"),
        ("/home/anna/campaign", "nfs4"),
        ("/home/annabel", "autofs"),
        ("/lus/grand/projects", "lustre"),
        ("/lus/grander", "ext4"),
        ("/mnt/two words/campaign", "beegfs"),
        ("/mnt/twice/campaign", "fuse.sshfs"),
        ("/short/line", "ext4"),
    ],
)
def test_the_nearest_mount_decides(path: str, kind: str) -> None:
    assert filesystem.mounted_kind(MOUNTS, path) == kind


@given(
    st.text()
    | st.lists(st.sampled_from(["/", " ", " - ", "\n", "\\040", "ext4", "rw"])).map("".join)
)
def test_any_table_has_an_answer(table: str) -> None:
    assert filesystem.mounted_kind(table, "/some/where")


names = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1)


@given(st.lists(names, min_size=1, max_size=3), names)
def test_any_mount_point_is_recognised(parts: list[str], below: str) -> None:
    point = "/" + "/".join(parts)
    written = "".join(f"\\{ord(c):03o}" if c in " \t\n\\" else c for c in point)
    table = f"1 0 0:1 / / rw - ext4 a rw\n2 1 0:2 / {written} rw - lustre b rw\n"
    assert filesystem.mounted_kind(table, point) == "lustre"
    assert filesystem.mounted_kind(table, f"{point}/{below}") == "lustre"
    assert filesystem.mounted_kind(table, f"{point}x") == "ext4"


@pytest.mark.parametrize(
    "kind",
    ["nfs", "nfs4", "lustre", "gpfs", "beegfs", "cifs", "smb3", "fuse.sshfs", "ceph", "afs"]
    + ["panfs", "pvfs2", "9p", "virtiofs", "autofs"]
    + ["dvs", "wekafs", "fuse.glusterfs", "a-kind-nobody-has-seen"],
)
def test_shared_kinds(kind: str) -> None:
    assert filesystem.is_shared(kind)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "unknown"])
def test_local_kinds(kind: str) -> None:
    assert not filesystem.is_shared(kind)


def test_the_kind_of_a_path_that_does_not_exist_yet(tmp_path: Path) -> None:
    assert filesystem.kind(tmp_path / "not" / "yet") == filesystem.kind(tmp_path)


@pytest.mark.skipif(not Path("/proc/self/mountinfo").exists(), reason="Linux only")
def test_the_kind_follows_symbolic_links(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/proc")
    assert filesystem.kind(tmp_path / "link" / "self") == "proc"
    assert filesystem.journal_mode(tmp_path / "link") == "delete"


def test_locks_work_in_any_directory_name(tmp_path: Path) -> None:
    directory = tmp_path / "100% what? it's #1 ä"
    directory.mkdir()
    assert filesystem.locking_works(directory)
    assert list(directory.iterdir()) == []


def test_a_file_system_without_locks_is_noticed(tmp_path: Path) -> None:
    assert not filesystem.locking_works(tmp_path, vfs="unix-none")
    assert list(tmp_path.iterdir()) == []


def test_a_place_where_nothing_can_be_written_is_not_a_locking_problem(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        filesystem.locking_works(tmp_path / "missing")


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")
def test_a_place_without_room_is_not_a_locking_problem() -> None:
    with pytest.raises(OSError, match=r"\[Errno"):
        filesystem.locking_works(Path("/proc/self"))


def test_a_python_that_does_not_start_is_not_a_locking_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(OSError, match="ended with code 1"):
        filesystem.locking_works(tmp_path)
    assert list(tmp_path.iterdir()) == []
