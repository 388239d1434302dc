"""Batch jobs of a real Slurm that run launchers."""

from __future__ import annotations

import shlex
from collections.abc import Callable

import pytest

from tests.tools.emulated import wait_for
from tests.tools.fixtures import NODES
from tests.tools.slurm import Cluster

from .conftest import BALSAM, PATIENCE_SECONDS, Site

#: How soon Slurm does what is due: time limits, nodes that are down.
SLURM_SECONDS = 45.0
BALSAM_COMMAND = shlex.join(BALSAM)


class BatchJob:
    """A batch job that runs a launcher (or more, if ``lines`` say so) over nodes of a cluster."""

    def __init__(
        self,
        site: Site,
        cluster: Cluster,
        *options: str,
        nodes: int = NODES,
        launcher: str = "--consume-all",
        lines: str = "",
    ) -> None:
        self._site = site
        self._cluster = cluster
        number = len(list(site.home.glob("batch-*.sh")))
        script = site.home / f"batch-{number}.sh"
        self.screen = script.with_suffix(".txt")
        command = lines or f"exec {BALSAM_COMMAND} launcher {launcher}"
        script.write_text(f"#!/bin/bash\n{command}\n")
        environ = {**site.env, "SLURM_MPI_TYPE": "pmi2"}
        if not cluster.apart:
            environ["TRACE_NODENAME"] = "1"
        self.id = cluster.submit(
            # A job goes on when one of its nodes dies, and Slurm does not run it again by itself.
            script, "--no-kill", "--no-requeue", f"--nodes={nodes}", "--time=20",
            f"--chdir={site.path}", f"--output={self.screen}", *options, environ=environ,
        )  # fmt: skip

    @property
    def said(self) -> str:
        """What its script has printed."""
        return self.screen.read_text() if self.screen.exists() else ""

    @property
    def state(self) -> str:
        """What Slurm says of it."""
        return self._cluster.state(self.id)

    def wait(self, *wanted: str, seconds: float = 2 * PATIENCE_SECONDS) -> str:
        """What it printed, once Slurm says that it ended in one of these states (COMPLETED)."""
        going = {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "UNKNOWN"}.difference(wanted)
        self.until(lambda: self.state not in going, "the batch job ends", seconds)
        if self.state not in (wanted or ("COMPLETED",)):
            pytest.fail(f"the batch job is {self.state}, not {wanted}\n{self.diagnosis()}")
        return self.said

    def until(
        self, condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS
    ) -> None:
        """Wait for a condition; where it does not come, all there is to know."""
        if not wait_for(condition, seconds):
            pytest.fail(f"not in {seconds:g} s: {what}\n{self.diagnosis()}")

    def diagnosis(self) -> str:
        """What it and Slurm have to say."""
        parts = [f"--- batch job {self.id} ({self.state}):\n{self.said}"]
        return "\n".join([*parts, self._site.diagnosis(), self._cluster.diagnosis()])
