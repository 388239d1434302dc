"""The driver with futures: woken when an evaluation ends, instead of asking again and again."""

from __future__ import annotations

import argparse
from typing import Any

from evaluations import BOX, cost, curve, hopeless, spawn
from search import Search

import balsam.launcher.dag as dag
from balsam.launcher import futures
from balsam.launcher.futures import FutureTask

#: Between two looks at the learning curves, in seconds.
LOOK_SECONDS = 0.25


class Driver:
    """A search, the best evaluation's curve, and the futures of those that have not ended."""

    def __init__(self, budget: int, at_once: int, epochs: int) -> None:
        self.budget, self.at_once, self.epochs = budget, at_once, epochs
        self.search = Search(BOX)
        self.best: list[float] = []
        # After an interruption: evaluations of before, of which some may have ended.
        self.futures = [self.future(job) for job in dag.children.order_by("id")]
        self.added = len(self.futures)

    def future(self, job: Any) -> FutureTask:
        """What calls ``learn`` with the job once it has finished."""
        return FutureTask(job, self.learn, lambda job: print(f"{job.cute_id} failed"))

    def learn(self, job: Any) -> None:
        """Tell the search of a finished evaluation."""
        self.search.tell(job.data["x"], cost(job))
        if self.search.best[1] == job.data["x"]:
            self.best = curve(job)
            print(f"{job.cute_id} is the best so far: {self.search.best}", flush=True)

    def step(self) -> None:
        """Keep enough evaluations going, and wait until one ends or the curves are worth a look."""
        while self.added < self.budget and len(self.futures) < self.at_once:
            point = self.search.ask(self.added)
            self.futures.append(self.future(spawn(self.added, point, self.epochs)))
            self.added += 1
        try:
            result = futures.wait(self.futures, timeout=LOOK_SECONDS, return_when="ANY_COMPLETED")
        except TimeoutError:
            self.give_up_hopeless()
            return
        for future in result.done + result.failed:
            future.result()
        self.futures = result.active
        self.give_up_hopeless()

    def give_up_hopeless(self) -> None:
        """Kill the evaluations that lie far behind."""
        running = dag.children.filter(state="RUNNING")
        given_up = {job.job_id for job in hopeless(running, self.best)}
        for future in self.futures:
            if future.job_id in given_up:
                future.cancel()
                print(f"gave up {future.cute_id}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--budget", type=int, default=12, help="evaluations in all")
    parser.add_argument("--at-once", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=150)
    driver = Driver(**vars(parser.parse_args()))
    while driver.futures or driver.added < driver.budget:
        driver.step()
    lowest, (exponent, momentum) = driver.search.best
    print(f"best cost {lowest} with rate {10**exponent} and momentum {momentum}")


if __name__ == "__main__":
    main()
