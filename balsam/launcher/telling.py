"""What a launcher tells whoever started it: notices, and how the work goes."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from balsam.core.offer import count
from balsam.core.record import TROUBLE
from balsam.launcher.attempts import Attempts
from balsam.launcher.options import Report
from balsam.launcher.progress import Progress

#: So many nodes are named in a report; the log names all.
MOST = 8


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
            notice = self._gone() if final else ""
            self.report(self.work.snapshot(len(self.attempts), final=final, notice=notice))

    def _gone(self) -> str:
        """The nodes that were lost on the way: what was said of them then has scrolled by."""
        gone = self.attempts.gone
        if not gone:
            return ""
        some = "; ".join(f"{node} ({why.rstrip('.')})" for node, why in list(gone.items())[:MOST])
        more = f"; and {len(gone) - MOST} more" if len(gone) > MOST else ""
        return f"{count(len(gone), 'node')} lost or set aside: {some}{more}."
