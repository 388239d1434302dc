"""Finding Postgres, with little programs that say they are one."""

from __future__ import annotations

from pathlib import Path

import pytest

from balsam.conf.postgres import binaries
from balsam.errors import ServerError


@pytest.fixture(autouse=True)
def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is installed beside the tests does not count."""
    monkeypatch.setattr(binaries, "WHEEL", "no_such_package_of_postgres")


def put(directory: Path, version: str, names: tuple[str, ...] = binaries.PROGRAMS) -> Path:
    directory.mkdir(parents=True)
    for name in names:
        program = directory / name
        program.write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version} (Made up 1.0)'\n")
        program.chmod(0o755)
    return directory


def refusal(**words: object) -> str:
    with pytest.raises(ServerError) as caught:
        binaries.find(**words)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_path_comes_before_the_system_and_links_are_followed(tmp_path: Path) -> None:
    system = put(tmp_path / "usr/lib/postgresql/17/bin", "17.1")
    real = put(tmp_path / "opt/pg/bin", "15.3")
    links = tmp_path / "links"
    links.mkdir()
    (links / "postgres").symlink_to(real / "postgres")
    found = binaries.find({"PATH": str(links)}, root=tmp_path)
    assert (found.directory, found.version, found.full) == (real, 15, "15.3")
    assert found.program("initdb") == str(real / "initdb")
    assert binaries.find({"PATH": ""}, root=tmp_path).directory == system


def test_pg_config_knows_where_they_are(tmp_path: Path) -> None:
    real = put(tmp_path / "hidden/bin", "16.2")
    config = tmp_path / "bin" / "pg_config"
    config.parent.mkdir()
    config.write_text(f"#!/bin/sh\necho {real}\n")
    config.chmod(0o755)
    assert binaries.find({"PATH": str(config.parent)}, root=tmp_path).directory == real


def test_the_newest_of_the_system_wins_by_number_not_by_letter(tmp_path: Path) -> None:
    for version in ("9.6", "14", "100"):
        put(tmp_path / f"usr/lib/postgresql/{version}/bin", f"{version}.1")
    put(tmp_path / "usr/pgsql-16/bin", "16.9")
    assert binaries.find({"PATH": ""}, root=tmp_path).version == 100
    assert binaries.find({"PATH": ""}, 16, tmp_path).full == "16.9"
    assert binaries.find({"PATH": ""}, 14, tmp_path).version == 14


def test_folders_without_all_programs_or_with_broken_ones_are_passed_over(tmp_path: Path) -> None:
    put(tmp_path / "usr/lib/postgresql/18/bin", "18.1", ("initdb",))
    broken = put(tmp_path / "usr/lib/postgresql/17/bin", "17.1")
    (broken / "postgres").write_text("#!/bin/sh\nexit 1\n")
    whole = put(tmp_path / "usr/lib/postgresql/16/bin", "16.1")
    assert binaries.find({"PATH": ""}, root=tmp_path).directory == whole


def test_the_variable_is_taken_or_refused(tmp_path: Path) -> None:
    put(tmp_path / "usr/lib/postgresql/17/bin", "17.1")
    own = put(tmp_path / "own", "15.1")
    assert binaries.find({"PATH": "", "POSTGRES_BIN": str(own)}, root=tmp_path).version == 15
    said = refusal(environ={"PATH": "", "POSTGRES_BIN": str(tmp_path / "no")}, root=tmp_path)
    assert said.startswith(f"POSTGRES_BIN is {tmp_path / 'no'}, which holds no Postgres that runs")
    said = refusal(environ={"PATH": "", "POSTGRES_BIN": str(own)}, version=17, root=tmp_path)
    assert "made by Postgres 17" in said
    assert f"15.1 in {own}" in said


def test_too_old(tmp_path: Path) -> None:
    old = put(tmp_path / "usr/lib/postgresql/13/bin", "13.9")
    said = refusal(environ={"PATH": ""}, root=tmp_path)
    assert f"too old (13.9 in {old}): install 14 or newer" in said


def test_none_at_all(tmp_path: Path) -> None:
    said = refusal(environ={"PATH": ""}, root=tmp_path)
    assert said.startswith("There is no Postgres on this machine")
    assert "pip install 'balsam[postgres]'" in said
    said = refusal(environ={"PATH": ""}, version=15, root=tmp_path)
    assert "made by Postgres 15" in said
    assert "none on this machine" in said
