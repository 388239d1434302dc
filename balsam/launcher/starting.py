"""Starting what a launcher has leased, and leasing as much as it will soon start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from balsam.errors import BalsamError, MpiUnavailable
from balsam.launcher.attempts import Attempts, could_not_start
from balsam.launcher.ledger import Ledger, Start
from balsam.launcher.progress import Progress
from balsam.launcher.source import Source

#: More uncommitted entries than this, and nothing new is started until the database answers.
MAX_UNCOMMITTED = 5000
#: Tasks are leased for so long ahead at the present rate: enough not to ask for each one.
AHEAD_SECONDS = 0.25


@dataclass
class Starter:
    """Turns the stock of leased tasks into attempts."""

    source: Source
    attempts: Attempts
    ledger: Ledger
    progress: Progress
    tell: Callable[[str], None]
    asked_to_stop: Callable[[], bool]

    def start(self) -> None:
        """Start what fits, in order; what is at the head waits for its share."""
        if len(self.ledger) > MAX_UNCOMMITTED:
            return
        started = False
        while self.source.stock or self._lease():
            if self.asked_to_stop():
                break
            task = self.source.stock[0]
            try:
                app = self.source.application(task.app_id)
                start = self.attempts.start(task, app)
                if start is None:
                    self.attempts.prepare(task, app)
                    break
                if isinstance(start, Start):
                    self.ledger.add(start)
                started = True
            except MpiUnavailable as error:
                if self.source.scope.job is None:
                    self._leave_to_mpi(error)
                    continue
                self.ledger.add(could_not_start(task, error))
            except BalsamError as error:
                self.ledger.add(could_not_start(task, error))
            self.source.stock.popleft()
        if started:
            self.attempts.settle()

    def _leave_to_mpi(self, error: MpiUnavailable) -> None:
        """Leave what needs an mpirun to a launcher that has one."""
        self.source.without_mpi = True
        left = [task for task in self.source.stock if self.attempts.needs_mpi(task)]
        self.source.give_back(left)
        self.source.drop({task.id for task in left})
        self.source.dirty = True
        self.tell(f"{error} Jobs that need one are left for a launcher that has it.")

    def _lease(self) -> bool:
        room = self.attempts.room()
        if not room or not self.source.dirty:
            return False
        ahead = int(self.progress.rate() * AHEAD_SECONDS)
        return self.source.lease(max(room, ahead)) > 0
