"""Who a server runs as."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

import pytest

from balsam.conf.postgres import account
from balsam.errors import ServerError


def identity(found: account.Account) -> int:
    said = subprocess.run([*found.prefix, "id", "-u"], capture_output=True, text=True, check=True)
    return int(said.stdout)


def test_the_server_is_never_root(tmp_path: Path) -> None:
    found = account.find(tmp_path)
    assert identity(found) != 0
    program = ["sh", "-c", 'echo hello > "$0"/file', str(tmp_path)]
    subprocess.run([*found.prefix, *program], check=True)
    assert (tmp_path / "file").read_text() == "hello\n"
    if os.geteuid() != 0:
        assert found == account.Account()


def test_root_runs_it_as_the_owner_of_the_directory(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("root may run a server for others")
    nobody = pwd.getpwnam("nobody")
    for path in (tmp_path, *list(tmp_path.parents)[:2]):
        path.chmod(0o711)
    os.chown(tmp_path, nobody.pw_uid, nobody.pw_gid)
    found = account.find(tmp_path)
    assert found.owner == (nobody.pw_uid, nobody.pw_gid)
    assert identity(found) == nobody.pw_uid
    (tmp_path / "file").touch()
    found.give(tmp_path / "file")
    assert (tmp_path / "file").stat().st_uid == nobody.pw_uid


def test_a_directory_that_nobody_reaches(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("root may give a directory away")
    nobody = pwd.getpwnam("nobody")
    closed = tmp_path / "closed"
    (closed / "inner").mkdir(parents=True)
    closed.chmod(0o700)
    os.chown(closed / "inner", nobody.pw_uid, nobody.pw_gid)
    with pytest.raises(ServerError, match="Postgres does not run as root, and nobody else"):
        account.find(closed / "inner")
    assert (closed / "inner").stat().st_uid == nobody.pw_uid
