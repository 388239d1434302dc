"""What mpirun starts on each node: ``python -m balsam.launcher.ensemble``."""

from __future__ import annotations

import os
import signal
import sys

from balsam.launcher.ensemble import wire
from balsam.launcher.ensemble.mail import MpiMail
from balsam.launcher.ensemble.rank import Rank
from balsam.launcher.ensemble.root import Root

_FINALIZE_SECONDS = 5


def main() -> None:
    """Be one rank until the launcher, or its absence, ends it."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    try:
        import mpi4py

        mpi4py.rc(thread_level="single", finalize=False)
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        words = " ".join(str(error).split())
        os.write(1, wire.control(error=f"mpi4py can not be used by {sys.executable}: {words}"))
        sys.exit(1)
    mail = MpiMail(MPI)
    rank = Rank(mail) if mail.rank else Root(mail)
    rank.begin()
    while not rank.over:
        rank.step()
    if isinstance(rank, Root):
        rank.last_words(2.0)
    if rank.hurry:
        os._exit(0)
    # A rank that died meanwhile would be waited for without end.
    signal.alarm(_FINALIZE_SECONDS)
    MPI.Finalize()


if __name__ == "__main__":
    main()
