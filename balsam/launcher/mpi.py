"""The mpirun of one launcher: found, and asked what it is, when it is first needed."""

from __future__ import annotations

import contextlib
import logging
import shlex
from collections.abc import Mapping

from balsam.conf.settings import Mpi as MpiSettings
from balsam.errors import MpiUnavailable
from balsam.launcher.tasks import Mpi
from balsam.platform import mpirun

logger = logging.getLogger(__name__)


class MpiFinder:
    """Asks beside other work, and once."""

    def __init__(
        self,
        config: MpiSettings,
        environ: Mapping[str, str],
        said_by: str = mpirun.SETTINGS,
    ) -> None:
        self._config = config
        self._environ = environ
        self._said_by = said_by
        #: What to tell the user of the answer, until somebody has.
        self.news = ""
        self._program = ""
        self._probe: mpirun.Probe | None = None
        self._found: Mpi | MpiUnavailable | None = None

    def get(self) -> Mpi | None:
        """The mpirun; None while it has not answered. Raises MpiUnavailable.

        Its answer comes with the end of a child process, or is given up at ``deadline``; poll then.
        """
        if self._found is None:
            try:
                self._found = self._ask()
            except MpiUnavailable as error:
                logger.warning("%s", error)
                self._found = error
            if self._found is not None:
                self.close()
        if isinstance(self._found, MpiUnavailable):
            raise MpiUnavailable(str(self._found))
        return self._found

    def _ask(self) -> Mpi | None:
        if self._probe is None:
            self._program = mpirun.find_mpirun(self._config.mpirun, self._environ, self._said_by)
            self._probe = mpirun.Probe(self._program, self._config.flavour)
        flavour = self._probe.flavour()
        if flavour is None:
            return None
        found = Mpi(self._program, flavour, self._flags())
        logger.info("mpirun is %s: %s", self._program, flavour.label)
        self.news = f"MPI jobs are run by {self._program}: {flavour.label}."
        return found

    def _flags(self) -> tuple[str, ...]:
        flags = self._config.flags
        try:
            return tuple(shlex.split(flags))
        except ValueError as error:
            raise MpiUnavailable(
                f"The options of mpirun, {flags}, are no words of a shell ({error}): correct "
                "mpi.flags in settings.yml or in the machine file."
            ) from error

    def poll(self) -> None:
        """Take the answer, if it was asked for and has come."""
        if self._probe:
            with contextlib.suppress(MpiUnavailable):
                self.get()

    @property
    def deadline(self) -> float | None:
        """When (monotonic) to ask again at the latest; None if there is nothing to wait for."""
        return self._probe.deadline if self._probe else None

    def close(self) -> None:
        """Wait for no answer any more."""
        probe, self._probe = self._probe, None
        if probe:
            probe.close()
