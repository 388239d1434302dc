"""The settings of a project: ``settings.yml`` as a typed value.

Each setting carries its help text, choices and limits as field metadata (``schema.setting``); the
parser and the reference page are made from these tables. Units are in the names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from balsam import errors, retries
from balsam.conf import schema
from balsam.conf.machine_file import FLAVOURS
from balsam.conf.schema import setting


@dataclass(frozen=True)
class Database:
    """Where the record is kept and how it is opened."""

    engine: str = setting(
        "sqlite", "The database of this project, chosen by balsam init.",
        choices=("sqlite", "postgres"),
    )  # fmt: skip
    journal_mode: str = setting(
        "wal",
        "SQLite's journal: wal (fast) only if the project is used from one host at a time, "
        "delete on a file system shared between hosts.",
        choices=("wal", "delete"),
    )
    busy_timeout_seconds: float = setting(
        60.0, "How long a write waits for other writers before it is an error.", above=True
    )
    url: str = setting(
        "",
        "A Postgres server of somebody else, postgres://USER@HOST:PORT/DATABASE, without a "
        "password; empty = the project's own server.",
    )
    password_file: str = setting(
        "",
        "The file (0600) with the password for url; empty = as PGPASSFILE or ~/.pgpass says.",
    )
    auto_start: bool = setting(
        True, "Whether any command starts the project's own Postgres server if it is not running."
    )
    listen: str = setting(
        "",
        "Where the project's own server listens beside its socket: a host name or address of this "
        "machine, auto (the one that compute nodes most likely reach), or nothing.",
    )
    connect_timeout_seconds: int = setting(
        10, "How long to wait for a Postgres server to answer.", least=1
    )


@dataclass(frozen=True)
class Launcher:
    """The pilot that runs jobs."""

    machine: str = setting(
        "auto",
        "The machine: a name of those that balsam machines lists, or the path of a machine file; "
        "auto = as host names, environment and scheduler tell.",
    )
    sort_by: str = setting(
        "wide_first",
        "The order of jobs of one priority: those of most nodes first, then the longest "
        "(wide_first); the longest first, then those of most nodes (long_large_first); the "
        "shortest first (short_first); or as they were added (fifo).",
        choices=("wide_first", "long_large_first", "short_first", "fifo"),
    )
    margin_seconds: float = setting(
        60.0,
        "A launcher stops this long before its batch job ends, or a tenth of the time there is, "
        "if that is less.",
    )
    poll_milliseconds: int = setting(
        25, "How often an otherwise idle launcher looks for changes of the record.", least=1
    )
    commit_milliseconds: int = setting(
        20, "How long outcomes are collected before they are committed together; 0 = at once."
    )
    heartbeat_seconds: float = setting(
        15.0, "How often a launcher renews its leases; less than half of lease_seconds.", above=True
    )
    lease_seconds: float = setting(
        120.0, "How long after its last heartbeat a launcher counts as lost.", above=True
    )
    idle_exit_seconds: float = setting(
        10.0, "A launcher that has had nothing to do for this long ends."
    )
    stop_grace_seconds: float = setting(
        10.0, "At the end of a launcher: time between asking its tasks to stop and killing them."
    )
    kill_grace_seconds: float = setting(
        0.5, "When one job is killed: time between asking it to stop and killing it."
    )
    error_tail_lines: int = setting(
        16, "Lines from the end of a failed task's output that go into its event."
    )
    max_concurrent_mpiruns: int = setting(
        1000,
        "The largest number of mpirun processes of a launcher at once, those of jobs; a machine "
        "may allow less. --part divides it among its parts.",
        least=1,
    )
    crash_limit: int = setting(
        5, "A job that was running this often when its launcher or node was lost fails.", least=1
    )
    progress_seconds: float = setting(
        30.0, "Time between two progress lines where there is no terminal.", above=True
    )
    max_launches: int = setting(
        0,
        "The most mpiruns over the life of one launcher, those that start the workers for serial "
        "jobs included; a machine may allow less, and 0 = as many as it allows. --part divides it "
        "among its parts; other launchers of the same batch job each count their own.",
    )
    watch_ranks: bool = setting(
        True,
        "With --job-mode mpi on several nodes: start workers there that look at the CPUs and the "
        "memory of ranks, and for lost nodes; false where nothing may run beside a job. There are "
        "none where the number of mpiruns is limited (max_launches).",
    )
    cores_per_node: int = setting(
        0, "Cores of a node that jobs may use; 0 = all that the machine has."
    )
    gpus_per_node: int = setting(
        0, "GPUs of a node that jobs may use; 0 = all that the machine has."
    )
    max_ranks_per_node: int = setting(
        0, "The most MPI ranks on a node; 0 = as many as the machine allows."
    )


@dataclass(frozen=True)
class Transitions:
    """The pool that stages files and runs hooks between runs."""

    num_workers: int = setting(2, "Worker processes for staging and hooks.", least=1)
    hook_time_limit_seconds: float = setting(
        300.0, "A pre-process, post-process or handler script is ended after this.", above=True
    )
    worker_crash_limit: int = setting(
        3, "A job whose step took its worker process down this often fails.", least=1
    )


@dataclass(frozen=True)
class Jobs:
    """Policies for jobs that do not set their own."""

    max_attempts: int = setting(
        10, "Attempts of one job, restarts after time-outs and errors included.", least=1
    )
    retry: str = setting(
        "",
        "How often an attempt, or staging or a hook, is made again, by cause, with the pause "
        "before that, which doubles each time: 'oom=2:30s, hook=1'.",
        check=retries.rules,
        spell=retries.spelled,
    )
    max_backoff_seconds: float = setting(
        3600.0, "The longest pause before an attempt or a step is made again.", above=True
    )


@dataclass(frozen=True)
class Mpi:
    """The machine's mpirun."""

    mpirun: str = setting(
        "auto",
        "Path of mpirun, or a name on PATH; auto = the machine's, else the one beside this Python, "
        "else the first one on PATH.",
    )
    flavour: str = setting(
        "auto", "Whose mpirun it is; auto = as the machine says, else ask it.", choices=FLAVOURS
    )
    flags: str = setting("", "More options for every mpirun, as in a shell.")


@dataclass(frozen=True)
class Logging:
    """What goes into the files in log/."""

    level: str = setting(
        "INFO", "The least level that is written.",
        choices=("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
    )  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """All settings of a project."""

    database: Database = field(default_factory=Database, metadata={"help": "The record."})
    launcher: Launcher = field(
        default_factory=Launcher, metadata={"help": "The pilot that runs jobs."}
    )
    transitions: Transitions = field(
        default_factory=Transitions, metadata={"help": "Staging and hooks between runs."}
    )
    jobs: Jobs = field(
        default_factory=Jobs, metadata={"help": "Policies for jobs that do not set their own."}
    )
    mpi: Mpi = field(default_factory=Mpi, metadata={"help": "The machine's mpirun."})
    logging: Logging = field(default_factory=Logging, metadata={"help": "The files in log/."})


#: The dataclass of each section, by its name in settings.yml.
SECTIONS: Mapping[str, type] = {
    f.name: type(getattr(Settings(), f.name)) for f in dataclasses.fields(Settings)
}


def load(path: Path) -> Settings:
    """Read and check a settings file; what it does not set has its default.

    Raises SettingsError, and nothing else, naming the file, the key and what is allowed there.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise errors.SettingsError(
            f"{path} is missing; an empty file there gives every setting its default."
        ) from error
    except (OSError, ValueError) as error:
        raise errors.SettingsError(f"{path} can not be read ({error}).") from error
    return parse(text, str(path))


def parse(text: str, path: str) -> Settings:
    """The settings written in ``text``; ``path`` names the file in errors. Raises SettingsError."""
    settings = Settings(**schema.read(text, path, SECTIONS))
    heartbeat, lease = settings.launcher.heartbeat_seconds, settings.launcher.lease_seconds
    if not heartbeat < lease / 2:
        raise errors.SettingsError(
            f"{path}: launcher.heartbeat_seconds is {heartbeat:g}; expected less than half of "
            f"launcher.lease_seconds, which is {lease:g}."
        )
    return settings
