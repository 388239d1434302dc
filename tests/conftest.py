"""Shared by all rings: Django configured for no project in particular, and what may be skipped."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator

import pytest

from balsam.conf import bootstrap
from tests import databases
from tests.tools.mpi import has_mpi

#: Where this is set (``.ci/run``), a test may be skipped for who runs it, not for what is missing.
REQUIRE_ALL = "BALSAM_TEST_REQUIRE_ALL"
ALLOWED = "root may "
#: Where this is set, tests run that start Postgres servers of their own.
SERVERS = "BALSAM_TEST_SERVERS"
#: Where this is set, tests run that emulate clusters and hosts, drills, and what takes long.
MACHINES = "BALSAM_TEST_MACHINES"


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # As in the background of a shell script: what is started would ignore it, too.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    bootstrap.setup()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    absent = ["sqlite" if databases.POSTGRES else "postgres"]
    if not os.environ.get(SERVERS):
        absent.append("server")
    if not os.environ.get(MACHINES):
        absent += ["slurm", "vnodes", "drill", "long"]
    left = {item for item in items if any(map(item.get_closest_marker, absent))}
    if left:
        config.hook.pytest_deselected(items=list(left))
        items[:] = [item for item in items if item not in left]
    if not has_mpi():
        for item in items:
            if item.get_closest_marker("mpi"):
                item.add_marker(pytest.mark.skip(reason="there is no MPI here"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if os.environ.get(REQUIRE_ALL) and report.skipped and not hasattr(report, "wasxfail"):
        reason = call.excinfo.value.msg if call.excinfo else ""
        if not str(reason).startswith(ALLOWED):
            report.outcome = "failed"
            report.longrepr = f"skipped, though {REQUIRE_ALL} is set: {reason}"
    return report
