"""What a launcher tells whoever started it: notices, and how the work goes."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from balsam.core.record import TROUBLE
from balsam.launcher.attempts import Attempts
from balsam.launcher.options import Report
from balsam.launcher.progress import Progress


@dataclass
class Teller:
    """Makes reports of one launcher."""

    report: Report
    work: Progress
    attempts: Attempts

    def tell(self, notice: str) -> None:
        """Tell something that a person should know."""
        self.report(self.work.snapshot(len(self.attempts), notice=notice))

    def progress(self, final: bool = False) -> None:
        """Count and tell how the work goes, if it is time to."""
        if final or self.work.due():
            with contextlib.suppress(*TROUBLE):
                self.work.count()
            self.report(self.work.snapshot(len(self.attempts), final=final))
