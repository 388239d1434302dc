"""Every exception Balsam raises on purpose, in one tree.

::

    BalsamError
     +-- ProjectError
     |    +-- ProjectNotFound          +-- ProjectExists
     |    +-- SchemaTooOld             +-- SchemaTooNew
     |    +-- LockingUnavailable
     |    +-- DatabaseUnavailable
     |         +-- ServerError
     |              +-- ServerStopped
     +-- SettingsError
     +-- UsageError
     |    +-- UnknownName   (also TypeError, ValueError)
     |    +-- InvalidValue  (also ValueError)
     +-- RecordError
     |    +-- NoApplication            +-- AmbiguousId
     |    +-- NoSuchJob
     |    +-- DependencyError (also RuntimeError; cycles, duplicates, jobs that already ran)
     |    +-- IllegalMove              +-- JobChanged
     +-- LaunchError
     |    +-- ProgramMissing           +-- MpiUnavailable
     |    +-- Unsatisfiable
     +-- AllocationError
     +-- LeaseLost
     +-- TransferError
     +-- TaskFailed

A message says what is wrong, with which job, file or setting, and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BalsamError(Exception):
    """Something Balsam can explain in one sentence."""


class ProjectError(BalsamError):
    """The project directory can not be used as it is."""


class ProjectNotFound(ProjectError):
    """There is no Balsam project here."""


class ProjectExists(ProjectError):
    """There is a Balsam project here already."""


class SchemaTooOld(ProjectError):
    """The project was made by an older Balsam and has to be upgraded."""


class SchemaTooNew(ProjectError):
    """The project was made by a newer Balsam than this one."""


class LockingUnavailable(ProjectError):
    """The file system does not lock files, so a database there would be corrupted."""


class DatabaseUnavailable(ProjectError):
    """The project's database does not answer, is read-only, locked or full."""


class ServerError(DatabaseUnavailable):
    """The project's Postgres server can not be made, started, stopped or reached."""


class ServerStopped(ServerError):
    """The project's Postgres server does not run."""


class SettingsError(BalsamError):
    """settings.yml has an unknown or ill-typed key."""


class UsageError(BalsamError):
    """The call does not make sense as it was written."""


class UnknownName(UsageError, TypeError, ValueError):
    """A field or keyword that does not exist."""


class InvalidValue(UsageError, ValueError):
    """A value of the wrong type or out of range."""


class RecordError(BalsamError):
    """The database does not hold, or does not allow, what was asked for."""


class NoApplication(RecordError):
    """No application of that name is registered."""


class NoSuchJob(RecordError):
    """No job matches."""


class AmbiguousId(RecordError):
    """More than one job matches an abbreviated id."""


class DependencyError(RecordError, RuntimeError):
    """An edge that can not be: a cycle, a duplicate, or a child that already ran."""


class IllegalMove(RecordError):
    """A change of state that the state machine does not have."""


class JobChanged(RecordError):
    """Somebody else changed the job in the meantime."""


class LaunchError(BalsamError):
    """A task could not be started."""


class ProgramMissing(LaunchError):
    """The program to run does not exist or may not be executed."""


class MpiUnavailable(LaunchError):
    """There is no usable mpirun on this machine."""


class Unsatisfiable(LaunchError):
    """A job asks for more than the allocation can ever give."""


class AllocationError(BalsamError):
    """The nodes that a launcher is to use can not be told, or are not there for it."""


class LeaseLost(BalsamError):
    """Another has taken over what this launcher held: nothing it knows of that counts any more."""

    def __init__(self) -> None:
        super().__init__(
            "This launcher's lease has run out (it was suspended, or the clock jumped) and "
            "another has taken its jobs over; its tasks were ended. Start it again."
        )


class TransferError(BalsamError):
    """A file could not be staged in or out."""


class TaskFailed(BalsamError):
    """The job behind a future failed, and no callback was given for that."""


def nearest(word: str, known: Iterable[str]) -> str:
    """The clause that suggests the known name closest to ``word``, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""
