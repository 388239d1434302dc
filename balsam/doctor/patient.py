"""What is examined: a project as far as there is one, with settings as far as they can be read."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from balsam.conf import filesystem
from balsam.conf import project as projects
from balsam.conf.project import Project
from balsam.conf.settings import Settings
from balsam.errors import BalsamError, ProjectNotFound

if TYPE_CHECKING:
    from balsam.doctor.watch import Watch


def _say_nothing(sentence: str) -> None:
    """For those who need not hear what takes a while."""


@dataclass(frozen=True)
class Patient:
    """``project`` is None where there is none; ``missing`` says why.

    ``tell`` gets a sentence before what takes a while.
    """

    project: Project | None
    missing: str = ""
    tell: Callable[[str], None] = _say_nothing

    @classmethod
    def here(cls, tell: Callable[[str], None] = _say_nothing) -> Patient:
        """The project that commands here work on."""
        try:
            return cls(projects.find(), tell=tell)
        except ProjectNotFound as error:
            return cls(None, str(error), tell)

    @functools.cached_property
    def settings_error(self) -> str:
        """Why the settings can not be read; empty if they can."""
        if self.project is None:
            return "there is no project"
        try:
            self.project.settings()
        except BalsamError as error:
            return str(error)
        return ""

    @functools.cached_property
    def watch(self) -> Watch:
        """Who looks on at its sessions that may be dead, for all checks."""
        from balsam.doctor.watch import Watch

        assert self.project is not None
        return Watch(self.project, self.tell)

    @functools.cached_property
    def blocked(self) -> dict[Path, OSError]:
        """Directories of the project where its owner can write nothing either, and why.

        Because of a mount that is read-only, or a disk or quota that is full.
        """
        project = self.project
        if project is None:
            return {}
        places = (
            project.path, project.database_dir, project.data, project.log, project.journal_dir,
            project.qsubmit,
        )  # fmt: skip
        found = {place: filesystem.refusal(place) for place in places if place.is_dir()}
        return {place: error for place, error in found.items() if error}

    @functools.cached_property
    def settings(self) -> Settings:
        """The settings, or the defaults where they can not be read."""
        if self.project is None or self.settings_error:
            return Settings()
        return self.project.settings()
