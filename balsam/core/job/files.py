"""Where a job's files are; mixed into ``BalsamJob``."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from balsam.core import ids, place
from balsam.errors import InvalidValue
from balsam.platform import workdirs


def default_workdir(workflow: str, name: str, job_id: uuid.UUID) -> str:
    """``<workflow>/<name>_<short id>``, relative to the project's ``data``."""
    return workdirs.relative_workdir(workflow, name, ids.short_id(job_id))


def working_path(data: Path, user_workdir: str, relative: str) -> Path:
    """``relative`` below ``data``, or ``user_workdir``, where that exists."""
    own = os.path.expanduser(user_workdir)
    # Of what can not be looked at, Path.is_dir() raises an error.
    if own and os.path.isdir(own):
        return Path(own)
    return workdirs.resolve(data, relative)


class JobFiles:
    """The work directory of a job."""

    if TYPE_CHECKING:
        job_id: uuid.UUID
        name: str
        user_workdir: str
        workdir: str
        workflow: str

        @property
        def cute_id(self) -> str: ...

    @property
    def working_directory(self) -> str:
        """The absolute path of the job's directory, whether or not it exists yet."""
        if self.user_workdir:
            return str(self.working_path(place.data_directory()))
        return workdirs.resolve_text(place.data_path(), self.relative_workdir())

    def working_path(self, data: Path) -> Path:
        """The job's directory below ``data`` (or ``user_workdir``, where that exists)."""
        return working_path(data, self.user_workdir, self.relative_workdir())

    def relative_workdir(self) -> str:
        """The job's directory relative to the project's ``data``."""
        return self.workdir or default_workdir(self.workflow, self.name, self.job_id)

    def read_file_in_workdir(self, fname: str) -> str:
        """The text of a file in the job's directory; ValueError if it is not there."""
        path = Path(self.working_directory) / fname
        if not path.is_file():
            raise InvalidValue(f"{self.cute_id} has no file {path}")
        return path.read_text()
