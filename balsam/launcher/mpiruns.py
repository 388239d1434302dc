"""Which tasks mpirun runs, and whether one more mpirun may be started."""

from __future__ import annotations

from dataclasses import dataclass

from balsam.errors import MpiUnavailable
from balsam.launcher.ensemble.protocol import Hands
from balsam.launcher.mpi import MpiFinder
from balsam.launcher.near import Near
from balsam.launcher.tasks import Mpi, Task


@dataclass
class Mpiruns:
    """The mpiruns of a launcher, within what its machine allows.

    With ``for_all`` serial tasks are run by mpirun, too. No more than ``at_once`` run at a time,
    and no more than ``in_all`` are started (0: any number), those of ``hands`` among them.
    """

    finder: MpiFinder
    near: Near
    hands: Hands | None = None
    for_all: bool = False
    at_once: int = 1000
    in_all: int = 0

    def needed(self, task: Task) -> bool:
        """Whether a task is run by mpirun."""
        return task.mpirun and (task.ranks > 1 or self.for_all)

    def get(self) -> Mpi | None:
        """The mpirun for one more run, None for the moment. Raises MpiUnavailable."""
        if self.spent:
            raise MpiUnavailable(f"No mpirun can be started any more: {self.spent}.")
        mpi = self.finder.get()
        return None if self._all_run else mpi

    def awaited(self, task: Task) -> bool:
        """Whether a task can not start before one of the mpiruns that run has ended.

        That an mpirun has yet to say what it is takes a moment only: nothing goes past meanwhile.
        """
        return self._all_run and self.needed(task)

    @property
    def spent(self) -> str:
        """In a clause, that no mpirun is left of those that it may start; '' if one is."""
        workers = self.hands.launches if self.hands else 0
        if not self.in_all or self.near.launches + workers < self.in_all:
            return ""
        used = (
            f"this launcher is good for {self.in_all} launches, and they are used up (max_launches)"
        )
        return f"{used}, {workers} of them by the workers for serial jobs" if workers else used

    @property
    def _all_run(self) -> bool:
        return self.near.mpiruns >= self.at_once
