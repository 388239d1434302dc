"""Ensembles of several "nodes" on this host, driven by a test, and nothing left of them."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from balsam.launcher.ensemble import meeting
from balsam.launcher.ensemble.ensemble import Ensemble
from balsam.launcher.ensemble.protocol import Ended, Event, NodeLost, Refused, Started
from balsam.launcher.ensemble.strays import KEEPER_MARK
from balsam.platform import mpirun, process
from balsam.platform.process import RunSpec

#: Python programs beside other MPIs, separated by colons, to run these tests with as well.
OTHERS = "BALSAM_TEST_MPI_PYTHONS"
PYTHONS = [sys.executable, *filter(None, os.environ.get(OTHERS, "").split(":"))]
ROOT = Path(__file__).parents[2]
_OPEN_MPI_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
_FLAGS = {
    "openmpi4": ["--oversubscribe", "--bind-to", "none"],
    "openmpi5": ["--map-by", ":OVERSUBSCRIBE", "--bind-to", "none"],
}


def environ() -> dict[str, str]:
    """What mpirun and the tasks get."""
    paths = [str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(":"))]
    clean = mpirun.scrub(os.environ)
    return {**clean, "PYTHONPATH": ":".join(paths), "PATH": f"/usr/bin:/bin:{os.environ['PATH']}"}


def mpirun_of(python: str) -> str:
    """The mpirun beside a Python, else that of the machine. Raises MpiUnavailable."""
    beside = Path(python).with_name("mpiexec")
    return mpirun.find_mpirun(str(beside) if beside.exists() else "auto")


class Driver:
    """An ensemble, what it has told, and the programs it runs."""

    def __init__(
        self,
        directory: Path,
        nodes: int = 4,
        python: str = sys.executable,
        flags: Sequence[str] = (),
        extra: dict[str, str] | None = None,
        **options: Any,
    ) -> None:
        self.directory = directory
        self.nodes = [f"n{number}" for number in range(nodes)]
        self.session = f"{directory.name}-{os.getpid()}-{time.time_ns()}"
        self.env = environ()
        self.events: list[Event] = []
        self.started: list[Sequence[str]] = []
        #: Where nothing can be started: an mpirun over one of them hangs.
        self.cut_off: set[str] = set()
        self._python = python
        self._program = mpirun_of(python)
        self.flavour = mpirun.detect(self._program).name
        self._flags = flags
        self._extra = extra or {}
        values = {"beat_seconds": 0.3, "lease_seconds": 40.0, "orphan_seconds": 5.0, **options}
        self.ensemble = Ensemble(
            self.nodes, self.mpirun, self.session, self.env, by_rank=True, **values
        )

    def mpirun(self, nodes: Sequence[str]) -> RunSpec:
        """One rank for each node, all on this host."""
        self.started.append(nodes)
        if not self.cut_off.isdisjoint(nodes):
            hanging = ["/bin/sh", "-c", "sleep 600 & sleep 600"]
            return RunSpec(hanging, "/", self.env, str(self.directory / "ensemble.log"))
        argv = [self._program, *_FLAGS.get(self.flavour, []), *self._flags, "-n", str(len(nodes))]
        env = {**self.env, **_OPEN_MPI_ROOT, **self._extra, "I_MPI_PIN": "0"}
        words = [self._python, "-m", "balsam.launcher.ensemble"]
        return RunSpec([*argv, *words], "/", env, str(self.directory / "ensemble.log"))

    # -- doing ----------------------------------------------------------------------------------

    def spec(self, *argv: str, **env: str) -> RunSpec:
        """A task in the test's directory."""
        output = self.directory / f"{time.monotonic_ns()}.out"
        return RunSpec(argv, str(self.directory), {**self.env, **env}, str(output))

    def start(self, token: str, node: str, *argv: str, after: str = "") -> RunSpec:
        """Start a task."""
        spec = self.spec(*argv)
        self.ensemble.start(token, node, spec, after)
        return spec

    def turn(self) -> None:
        """Sleep until something happens, and hear it."""
        self.ensemble.flush()
        pause = max(0.0, min(0.2, (self.ensemble.deadline or 0.0) - time.monotonic()))
        select.select(self.ensemble.fds(), [], [], pause)
        self.events += self.ensemble.poll()

    def until(self, condition: Callable[[], object], what: str, seconds: float = 150.0) -> None:
        """Go on until something is so.

        Giving up a node takes four starts, each of which has twice the time that others took.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            log = self.directory / "ensemble.log"
            said = log.read_text()[-3000:] if log.exists() else ""
            assert time.monotonic() < deadline, f"not {what}: {self.events[-5:]}\n{said}"
            self.turn()

    def ready(self, nodes: Sequence[str] | None = None) -> None:
        """Wait for nodes, all of them if none are named."""
        wanted = set(self.nodes if nodes is None else nodes)
        self.until(lambda: wanted <= self.ensemble.ready_nodes, f"ready: {wanted}")

    # -- what was heard -------------------------------------------------------------------------

    def running(self, *tokens: str) -> dict[str, int]:
        """Wait until attempts run; their pids."""
        self.until(lambda: set(tokens) <= set(self._pids()), f"running: {tokens}")
        return {token: self._pids()[token] for token in tokens}

    def _pids(self) -> dict[str, int]:
        return {event.token: event.pid for event in self.events if isinstance(event, Started)}

    def ended(self, *tokens: str) -> list[Ended]:
        """Wait until attempts have ended; how."""
        self.until(lambda: set(tokens) <= {e.token for e in self._ended()}, f"ended: {tokens}")
        return [event for token in tokens for event in self._ended() if event.token == token]

    def _ended(self) -> list[Ended]:
        return [event for event in self.events if isinstance(event, Ended)]

    def refused(self, token: str) -> Refused:
        """Wait until an attempt was refused; why."""
        self.until(lambda: self.told().get(token), f"told of: {token}")
        found = [e for e in self.events if isinstance(e, Refused) and e.token == token]
        return found[0]

    def lost(self) -> list[NodeLost]:
        """The losses so far."""
        return [event for event in self.events if isinstance(event, NodeLost)]

    def told(self) -> dict[str, type]:
        """The last event of each token."""
        found: dict[str, type] = {}
        for event in self.events:
            tokens = event.tokens if isinstance(event, NodeLost) else (event.token,)
            if not isinstance(event, Started):
                found.update(dict.fromkeys(tokens, type(event)))
        return found

    # -- processes ------------------------------------------------------------------------------

    def tasks(self) -> list[int]:
        """The processes of this ensemble's tasks, on all nodes."""
        marks = [f"{KEEPER_MARK}={self.session}@{node}".encode() for node in self.nodes]
        return [pid for pid, env in environments() if not env.isdisjoint(marks)]

    def keepers(self) -> dict[str, int]:
        """The keeper of each node that has one."""
        found = {}
        for node in self.nodes:
            met = meeting.connect(meeting.path_of(self.session, node))
            if met:
                met[0].close()
                found[node] = met[1]
        return found

    def cut(self, node: str) -> None:
        """Have a node's rank and keeper die, with all that runs there; nothing starts there."""
        self.cut_off.add(node)
        mark = f"{self.session}@{node}"
        told = [self.keepers()[node], self.ranks()[self.nodes.index(node)]]
        # They die at once: none is left for a moment to tell of another's death.
        process.signal_all(told, signal.SIGSTOP)
        process.signal_all([*process.marked_processes(KEEPER_MARK, mark), *told], signal.SIGKILL)

    def mpiruns(self) -> list[int]:
        """The mpirun processes of this ensemble that live: children of this process."""
        return [crew.pid for crew in self.ensemble._crews.living]

    def ranks(self) -> dict[int, int]:
        """The living ranks: number to pid."""
        names = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK")
        pids = [
            pid
            for pid, words in command_lines()
            if words[-2:] == ["-m", "balsam.launcher.ensemble"] and "python" in words[0]
        ]
        mine = {pid for mpi in self.mpiruns() for pid in process.family(mpi)}
        found = {}
        for pid in mine.intersection(pids):
            for entry in environment(pid):
                name, _, value = entry.decode().partition("=")
                if name in names:
                    found[int(value)] = pid
        return found

    def clean(self) -> None:
        """Close; nothing may be left."""
        self.ensemble.close(5.0)
        deadline = time.monotonic() + 10.0
        while self.tasks() or self.keepers():
            if time.monotonic() > deadline:
                left = self.tasks(), self.keepers()
                process.signal_all([*self.keepers().values(), *self.tasks()], signal.SIGKILL)
                raise AssertionError(f"left behind: {left}")
            time.sleep(0.02)


def environment(pid: int) -> set[bytes]:
    """The variables a process started with."""
    try:
        return set(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    except OSError:
        return set()


def environments() -> list[tuple[int, set[bytes]]]:
    """Of all processes."""
    return [(pid, environment(pid)) for pid in _pids()]


def command_lines() -> list[tuple[int, list[str]]]:
    """The words of all processes that have some."""
    found = []
    for pid in _pids():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]
        except OSError:
            continue
        if words:
            found.append((pid, words))
    return found


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def written(spec: RunSpec) -> str:
    """The output of a task."""
    return Path(spec.output).read_text()


def as_json(spec: RunSpec) -> dict[str, str]:
    """The output of a task that printed JSON."""
    found: dict[str, str] = json.loads(written(spec))
    return found
