"""The postprocess script of ``largest``: when the run failed, try again with more iterations."""

from __future__ import annotations

from balsam.launcher import dag
from balsam.states import RESTART_READY


def main() -> None:
    if dag.ERROR:
        job = dag.current_job
        job.args = job.args.replace("--iterations 3", "--iterations 300")
        job.save()
        job.update_state(RESTART_READY, "too few iterations: again with 300")


if __name__ == "__main__":
    main()
