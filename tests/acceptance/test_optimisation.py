"""The optimisation tutorial: both drivers find the best, kill, and go on when interrupted."""

from __future__ import annotations

import re
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from balsam import states
from balsam.core.models import BalsamJob

pytestmark = pytest.mark.long

SCRIPTS = Path(__file__).parents[2] / "examples" / "optimisation"
DRIVERS = ["optimise.py", "optimise_futures.py"]
BUDGET = 10


def add_driver(site: Any, script: str, epochs: int) -> None:
    program = f"{shlex.quote(sys.executable)} {shlex.quote(str(SCRIPTS / script))}"
    site.app("optimise", program)
    arguments = f"--budget {BUDGET} --epochs {epochs}"
    site.job("driver", application="optimise", args=arguments, node_packing_count=4)


def evaluations(state: str | None = None) -> Any:
    jobs = BalsamJob.objects.filter(name__startswith="evaluation")
    return jobs if state is None else jobs.filter(state=state)


def judge(site: Any) -> None:
    """The driver is done, all evaluations have ended, and each point was added once."""
    if site.state("driver") != states.JOB_FINISHED:
        pytest.fail(f"{site.output('driver')}\n{site.diagnosis()}")
    names = sorted(evaluations().values_list("name", flat=True))
    assert names == sorted(f"evaluation{number}" for number in range(BUDGET))
    assert not evaluations().exclude(state__in=states.END_STATES).exists()
    printed = site.output("driver")
    (lowest,) = re.findall(r"^best cost (\S+) with rate \S+ and momentum \S+$", printed, re.M)
    costs = [
        float(re.findall(r"[\d.e-]+", job.read_file_in_workdir("result.json"))[-1])
        for job in evaluations(states.JOB_FINISHED)
    ]
    assert float(lowest) == min(costs) < 0.01


@pytest.mark.parametrize("script", DRIVERS)
def test_the_search_ends_near_the_optimum(site: Any, script: str) -> None:
    add_driver(site, script, epochs=150)
    site.launch()
    judge(site)
    # The corners of the box: a rate that diverges, and one that leads nowhere.
    assert evaluations(states.FAILED).filter(name="evaluation1").exists()
    killed = evaluations(states.USER_KILLED)
    assert killed.exists()
    printed = site.output("driver")
    assert all(f"gave up {job.cute_id}" in printed for job in killed)
    site.check_clean()


@pytest.mark.parametrize("script", DRIVERS)
def test_a_search_that_is_interrupted_goes_on_where_it_was(site: Any, script: str) -> None:
    add_driver(site, script, epochs=300)
    launcher = site.start()
    site.until(evaluations(states.JOB_FINISHED).exists, "an evaluation finishes")
    launcher.signal(signal.SIGTERM)
    launcher.wait()
    site.check_clean()
    assert site.state("driver") == states.RESTART_READY
    before = set(evaluations(states.JOB_FINISHED).values_list("name", flat=True))
    assert 0 < len(before) < BUDGET

    site.launch()

    judge(site)
    assert site.named("driver").attempt == 2
    again = evaluations().filter(name__in=before).exclude(attempt=1)
    assert not again.exists()  # what had finished was not run a second time
    assert "RUN_TIMEOUT" in site.path_of("driver")
