"""What a bug report needs, as files: versions, findings, settings, ends of logs; no secrets."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import platform
import sqlite3
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from balsam.conf import undoable
from balsam.conf.postgres.status import status
from balsam.conf.project import Project
from balsam.core.care import fsck, questions, record
from balsam.core.models import BalsamJob
from balsam.doctor.examination import examine
from balsam.doctor.machine import installed
from balsam.doctor.masking import Mask, is_secret
from balsam.doctor.patient import Patient
from balsam.errors import BalsamError, InvalidValue

LOG_FILES = 6
LOG_BYTES = 200_000
JOBS = 50
#: Variables whose values help and are no secrets; of all others only the names are given.
SAFE_VARIABLES = (
    "BALSAM_DB_PATH",
    "BALSAM_DEBUG",
    "BALSAM_LS_FIELDS",
    "BALSAM_LS_LIMIT",
    "BALSAM_SITE_PATH",
    "COLUMNS",
    "CONDA_DEFAULT_ENV",
    "HOME",
    "HOSTNAME",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "LOADEDMODULES",
    "OMP_NUM_THREADS",
    "PATH",
    "PYTHONPATH",
    "SHELL",
    "SLURM_JOB_ID",
    "PBS_JOBID",
    "TERM",
    "TMPDIR",
    "TZ",
    "VIRTUAL_ENV",
)
#: What a job is, without what it works on.
_PLAIN = (
    "id, state, attempt, lost_attempts, return_code, num_nodes, ranks_per_node, state_timestamp"
)


@dataclass(frozen=True)
class Part:
    """One file of the archive, already masked, and what it is."""

    name: str
    about: str
    text: str


#: The text of a part; for one of JSON, what to write.
Source = Callable[[], Any]


def parts(
    patient: Patient,
    environ: Mapping[str, str],
    *,
    with_jobs: bool = False,
) -> Iterator[Part]:
    """The files of a report, one after the other; one that can not be made says why instead."""
    mask = Mask({**environ, **passwords(patient)})
    for name, about, source in _sources(patient, environ, with_jobs):
        try:
            content = source()
        except (BalsamError, sqlite3.Error, OSError, ValueError) as error:
            content = f"not available: {error}\n"
        if name.endswith(".json"):  # masked before: a mask may take a quote with it
            text = json.dumps(mask.value(content), indent=1, default=str) + "\n"
        else:
            text = mask.text(content)
        yield Part(name, about, text)


def refuse_existing(target: Path) -> None:
    """Raise InvalidValue if there is such a file already."""
    if os.path.lexists(target):
        raise InvalidValue(f"{os.path.abspath(target)} exists already; choose another name.")


def write(target: Path, contents: list[Part]) -> None:
    """Make the archive, all or nothing, readable for its owner only.

    Raises InvalidValue if there is such a file already or it can not be written.
    """
    target = Path(os.path.abspath(target))
    refuse_existing(target)
    try:
        with (
            undoable.replacing(target, ".balsam-report-") as stream,
            tarfile.open(fileobj=stream, mode="w:gz") as archive,
        ):
            root = target.name.partition(".")[0]
            for part in contents:
                data = part.text.encode("utf-8", "backslashreplace")
                entry = tarfile.TarInfo(f"{root}/{part.name}")
                entry.size, entry.mtime, entry.mode = len(data), int(time.time()), 0o600
                archive.addfile(entry, io.BytesIO(data))
    except OSError as error:
        raise InvalidValue(f"{target} can not be written ({error.strerror or error}).") from error


def _sources(
    patient: Patient, environ: Mapping[str, str], with_jobs: bool
) -> Iterator[tuple[str, str, Source]]:
    yield "versions.json", "versions of Balsam, Python, packages and system", _versions
    yield "environment.txt", "names of variables; values of a few", lambda: variables(environ)
    yield "doctor.json", "what 'balsam doctor' finds", lambda: _doctor(patient)
    project = patient.project
    if project is None:
        return
    yield "settings.yml", "the settings", lambda: _file_text(project.settings_file)
    yield "fsck.json", "what 'balsam fsck' finds", lambda: _fsck(project)
    if _has_server(patient):
        yield "server.json", "the Postgres server", lambda: _server(project)
    yield "schema.sql", "the tables", lambda: _schema(project)
    yield "states.json", "how many jobs are in each state", lambda: _states(project)
    yield (
        "sessions.json",
        "launchers and other processes that lease jobs",
        (lambda: _rows(project, "SELECT * FROM balsam_session ORDER BY id DESC LIMIT 50")),
    )
    newest = f"SELECT {_PLAIN} FROM balsam_job ORDER BY last_update DESC LIMIT {JOBS}"
    yield (
        "jobs.json",
        f"state and size of the {JOBS} jobs that changed last",
        (lambda: _rows(project, newest)),
    )
    if with_jobs:
        yield from _job_sources(project)
    for path in newest_logs(project.log):
        yield f"log/{path.name}", "the end of a log file", lambda path=path: _end(path)  # type: ignore[misc]


def _job_sources(project: Project) -> Iterator[tuple[str, str, Source]]:
    chosen = f"SELECT id FROM balsam_job ORDER BY last_update DESC LIMIT {JOBS}"
    columns = ", ".join(
        field.column
        for field in BalsamJob._meta.concrete_fields
        if not field.column.startswith("serialized_")
    )
    jobs = f"SELECT {columns} FROM balsam_job WHERE id IN ({chosen})"
    events = f"SELECT * FROM balsam_event WHERE job_id IN ({chosen}) ORDER BY id"
    yield (
        "jobs-in-full.json",
        "these jobs with commands, arguments, variables and data",
        (lambda: _rows(project, jobs)),
    )
    yield "events.json", "the histories of these jobs", lambda: _rows(project, events)
    yield "apps.json", "the applications", (lambda: _rows(project, "SELECT * FROM balsam_app"))


# -- the files ----------------------------------------------------------------------------------


def _versions() -> dict[str, str]:
    found = {**installed(), "system": platform.platform(), "machine": platform.machine()}
    return {**found, "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def variables(environ: Mapping[str, str]) -> str:
    """One line for each variable, with its value if that is on the list of safe ones."""
    lines = []
    for name in sorted(environ):
        safe = name in SAFE_VARIABLES and not is_secret(name)
        lines.append(f"{name}={environ[name]}" if safe else name)
    return "\n".join(lines) + "\n"


def passwords(patient: Patient) -> dict[str, str]:
    """The passwords of the database, by names that say so: wherever they turn up, they go."""
    project = patient.project
    if project is None:
        return {}
    files = [project.password_file]
    if given := patient.settings.database.password_file:
        files.append(project.path / Path(given).expanduser())
    found = {}
    for number, file in enumerate(files):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            found[f"PASSWORD_{number}"] = file.read_text(encoding="utf-8")
    return found


def _doctor(patient: Patient) -> list[dict[str, str]]:
    return [finding.to_dict() for finding in examine(patient)]


def _fsck(project: Project) -> dict[str, Any]:
    report = fsck.check_project(project)
    return {
        "schema": report.schema,
        "rows": report.rows,
        "problems": [vars(finding) for finding in report.findings if not finding.sound],
    }


def _has_server(patient: Patient) -> bool:
    assert patient.project is not None
    return patient.settings.database.engine == record.POSTGRES


def _server(project: Project) -> dict[str, Any]:
    return dataclasses.asdict(status(project))


def _schema(project: Project) -> str:
    with record.reading(project) as database:
        return record.schema_text(database)


def _states(project: Project) -> dict[str, int]:
    with record.reading(project) as database:
        return questions.counts_by_state(database)


def _rows(project: Project, statement: str) -> list[dict[str, Any]]:
    """Rows of a query; columns that hold JSON as what that says, so that names in it are seen."""
    with record.reading(project) as database:
        found = questions.records(database, statement)
    return [{key: _decoded(value) for key, value in row.items()} for row in found]


def _decoded(value: object) -> object:
    if isinstance(value, str) and value.startswith(("{", "[")):
        with contextlib.suppress(ValueError):
            return json.loads(value)
    return value


def _file_text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="backslashreplace")


def newest_logs(directory: Path) -> list[Path]:
    """The log files that were written last, newest first."""
    files = [path for path in directory.glob("*.log") if path.is_file()]
    return sorted(files, key=lambda path: path.stat().st_mtime, reverse=True)[:LOG_FILES]


def _end(path: Path) -> str:
    """The last part of a log file, from the beginning of a line."""
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - LOG_BYTES))
        data = stream.read(LOG_BYTES)
    if size > LOG_BYTES:
        data = data.partition(b"\n")[2]
    return data.decode(errors="replace")
