"""A bug report holds what is needed, says what that is, and keeps every secret."""

from __future__ import annotations

import json
import stat
import tarfile
from pathlib import Path

import pytest
from django.db import connection

from .conftest import Site

SECRETS = {
    "variable": "variable-s3cret",
    "settings": "settings-s3cret",
    "log": "log-s3cret",
    "url": "url-s3cret",
    "job": "job-s3cret",
    "other": "just-a-value",
}


@pytest.fixture
def filled(site: Site) -> Site:
    """A project with secrets wherever people put them."""
    site.env["SERVICE_TOKEN"] = SECRETS["variable"]
    site.env["MY_MODE"] = SECRETS["other"]
    site.job(
        "confidential",
        f"/bin/echo --password {SECRETS['job']}",
        environ_vars={"API_KEY": SECRETS["job"], "COLOUR": "red"},
        data={"api_key": SECRETS["job"], "size": 17},
        args="visible-argument",
    )
    site.launch()
    settings = site.path / "settings.yml"
    settings.write_text(f"{settings.read_text()}# db_password: {SECRETS['settings']}\n")
    log = site.path / "log" / "launcher_99999999T000000Z_1.log"
    log.write_text(
        f"password={SECRETS['log']}\nhttps://me:{SECRETS['url']}@example.org/\n"
        f"the value was {SECRETS['variable']}\nan ordinary line\n"
    )
    connection.close()
    return site


def contents(archive: Path) -> dict[str, str]:
    with tarfile.open(archive) as tar:
        found = {}
        for member in tar:
            stream = tar.extractfile(member)
            assert stream is not None
            found[member.name.partition("/")[2]] = stream.read().decode()
        return found


def test_what_is_in_it_and_what_is_not(filled: Site) -> None:
    archive = filled.home / "report.tar.gz"
    said = filled.balsam(f"bug-report {archive}")
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    found = contents(archive)
    assert {"versions.json", "doctor.json", "fsck.json", "settings.yml", "schema.sql"} <= set(found)
    for name in found:
        assert name in said
    everything = "\n".join(found.values())
    for where, secret in SECRETS.items():
        assert secret not in everything, where
    assert "visible-argument" not in everything and "confidential" not in everything
    assert "SERVICE_TOKEN\n" in found["environment.txt"]
    assert "MY_MODE\n" in found["environment.txt"]
    assert f"HOME={filled.home}" in found["environment.txt"]
    assert "an ordinary line" in found["log/launcher_99999999T000000Z_1.log"]
    assert json.loads(found["states.json"]) == {"JOB_FINISHED": 1}
    assert json.loads(found["fsck.json"])["problems"] == []
    assert "balsam_job" in found["schema.sql"]
    assert {one["check"] for one in json.loads(found["doctor.json"])} >= {"mpi", "database"}


def test_jobs_come_with_it_when_asked_and_without_secrets(filled: Site) -> None:
    archive = filled.home / "report.tar.gz"
    filled.balsam(f"bug-report {archive} --with-jobs")
    found = contents(archive)
    everything = "\n".join(found.values())
    for where, secret in SECRETS.items():
        assert secret not in everything, where
    (job,) = json.loads(found["jobs-in-full.json"])
    assert job["args"] == "visible-argument"
    assert job["environ_vars"] == {"API_KEY": "***", "COLOUR": "red"}
    assert job["data"] == {"api_key": "***", "size": 17}
    assert json.loads(found["events.json"])[0]["to_state"] == "CREATED"


def test_a_damaged_project_is_reported_too(site: Site) -> None:
    connection.close()
    for path in (site.path / "balsamdb").iterdir():
        path.write_bytes(b"not a database" * 1000)
    (site.path / "settings.yml").write_text("launcher: [")
    archive = site.home / "report.tar.gz"
    site.balsam(f"bug-report {archive}")
    found = contents(archive)
    assert "not available" in found["fsck.json"]
    assert [one for one in json.loads(found["doctor.json"]) if one["status"] == "problem"]


def test_without_a_project_and_without_a_name(site: Site) -> None:
    (site.path / ".balsam-site").rename(site.path / "aside")
    site.balsam("bug-report")
    (archive,) = site.path.glob("balsam-bug-report-*.tar.gz")
    assert {"versions.json", "environment.txt", "doctor.json"} == set(contents(archive))


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("report.zip", 2, "report.zip.tar.gz"),
        ("settings.tar.gz", 1, "exists already"),
        ("/does/not/exist/report.tar.gz", 1, "can not be written"),
    ],
)
def test_where_it_can_not_be_made(site: Site, words: str, code: int, said: str) -> None:
    (site.path / "settings.tar.gz").write_text("precious")
    told = site.balsam(f"bug-report {words}", code).splitlines()
    assert said in told[-1]
    assert len(told) == 1 or "/not/" in words, "it is told before all is looked up"
    assert (site.path / "settings.tar.gz").read_text() == "precious"
