"""The driver: a Balsam job that spawns evaluations, polls for results, and kills the hopeless.

All it knows is in the record, so a driver that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import argparse
import time

from evaluations import BOX, cost, curve, hopeless, spawn
from search import Search

import balsam.launcher.dag as dag
from balsam.service.models import END_STATES, BalsamJob


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--budget", type=int, default=12, help="evaluations in all")
    parser.add_argument("--at-once", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=150)
    options = parser.parse_args()

    search = Search(BOX)
    best: list[float] = []
    finished_jobs: set[object] = set()
    while True:
        my_jobs = dag.current_job.get_children().values_list("job_id", flat=True)
        jobs = BalsamJob.objects.filter(job_id__in=list(my_jobs))
        added, active = jobs.count(), jobs.exclude(state__in=END_STATES).count()

        new_jobs = jobs.filter(state="JOB_FINISHED").exclude(job_id__in=finished_jobs)
        for job in new_jobs.order_by("id"):
            finished_jobs.add(job.job_id)
            search.tell(job.data["x"], cost(job))
            if search.best[1] == job.data["x"]:
                best = curve(job)
                print(f"{job.cute_id} is the best so far: {search.best}", flush=True)

        for job in hopeless(jobs.filter(state="RUNNING"), best):
            dag.kill(job)
            print(f"gave up {job.cute_id}", flush=True)

        if added == options.budget and not active:
            break
        for number in range(added, min(options.budget, added + options.at_once - active)):
            spawn(number, search.ask(number), options.epochs)
        time.sleep(0.1)

    lowest, (exponent, momentum) = search.best
    print(f"best cost {lowest} with rate {10**exponent} and momentum {momentum}")


if __name__ == "__main__":
    main()
