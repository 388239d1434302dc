"""A real Slurm cluster in miniature: one controller, N emulated nodes, all on the loopback network.

``python -m tests.tools.slurm up DIR [--nodes 4] [--port 28800]`` starts one and prints what a
client has to export; ``down DIR`` ends exactly what was started. DIR must be short: sockets live
in it.

The nodes are emulated machines: n1, n2... with pids of their own, each killed as a whole. With
``--together`` they share the name and the pids of this host, as with many slurmd on one machine.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from tests.tools.emulated import PATH, Machine, Record, lacking, wait_for

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "prlimit")
#: How long a cluster may take to come up, and a client to answer, on a busy machine.
UP_SECONDS = 90.0
ANSWER_SECONDS = 60.0
#: How long nodes that were restarted may take before everything is.
PATIENCE_SECONDS = 6.0

_CONFIGURATION = """\
ClusterName=miniature
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={directory}/munge.socket
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny,DisableIPv6
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool/%n
SlurmctldPidFile={directory}/slurmctld.own
SlurmdPidFile={directory}/slurmd.%n.own
SlurmctldLogFile={directory}/log/slurmctld.log
SlurmdLogFile={directory}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
SwitchType=switch/none
PlugStackConfig=/dev/null
PropagateResourceLimits=NONE
# Short, for tests: TERM to KILL, how long ended jobs are shown, when a mute node counts as down.
KillWait=5
MinJobAge=300
SlurmdTimeout=10
SlurmctldTimeout=10
MessageTimeout=10
CompleteWait=0
ReturnToService=2
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
PriorityType=priority/basic
NodeName=DEFAULT CPUs={cpus} Boards=1 SocketsPerBoard=1 CoresPerSocket={cpus} RealMemory=1000
{nodes}
# Whole nodes, as at large facilities.
PartitionName=main Nodes=ALL Default=YES MaxTime=02:00:00 DefaultTime=00:10:00 \
OverSubscribe=EXCLUSIVE State=UP
"""


def missing() -> str:
    """Why there can be no cluster here, '' if there can."""
    return lacking(*PROGRAMS)


def free_port(first: int, number: int) -> int:
    """The first of that many ports in a row that nobody listens on."""
    for port in range(first, 32768 - number, number):
        if all(_is_free(port + offset) for offset in range(number)):
            return port
    raise RuntimeError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Cluster:
    """A cluster in a directory; another object for the same directory finds it again.

    If it is ``bound``, it ends with the process that started it.
    """

    def __init__(
        self,
        directory: Path,
        nodes: int = 4,
        cpus: int = 4,
        port: int = 28800,
        apart: bool = True,
        bound: bool = False,
    ) -> None:
        self.directory = Path(directory)
        self._bound = bound
        given = {"nodes": nodes, "cpus": cpus, "port": port, "apart": apart}
        kept = self.directory / "cluster.json"
        if kept.exists():
            given = json.loads(kept.read_text())
        self._given = given
        self.cpus, self.port, self.apart = given["cpus"], given["port"], bool(given["apart"])
        self.names = [f"n{number + 1}" for number in range(given["nodes"])]
        self.configuration = self.directory / "slurm.conf"
        self.environ = {"SLURM_CONF": str(self.configuration), "PATH": PATH}
        self._record = Record(self.directory, bound)

    # -- its life -------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it, and wait until all nodes are idle. Raises RuntimeError."""
        for path in ("log", "state", *(f"spool/{name}" for name in self.names)):
            (self.directory / path).mkdir(parents=True, exist_ok=True)
        (self.directory / "cluster.json").write_text(json.dumps(self._given))
        self._write_configuration()
        self._start_munge()
        self._daemon("slurmctld", "slurmctld", "-D")
        for name in self.names:
            self.start_node(name)
        self.await_idle()

    def stop(self) -> None:
        """End all jobs, then every process of it; remove the directory."""
        if self._record.pid("slurmctld"):
            self._ask("scancel", "--full", f"--user={os.geteuid()}", seconds=10)
            wait_for(lambda: not self._ask("squeue", "-h", seconds=5).strip(), 10)
        for name in self.names:
            self.kill_node(name)
        for daemon in ("slurmctld", "munged"):
            self._record.end(daemon)
        shutil.rmtree(self.directory, ignore_errors=True)

    def await_idle(self) -> None:
        """Wait until all nodes are ready for the next job. Raises RuntimeError."""
        if not wait_for(self._is_idle, UP_SECONDS):
            raise RuntimeError(f"Slurm's nodes are not idle:\n{self.diagnosis()}")

    def _is_idle(self) -> bool:
        return sorted(self.node_states(mute=True)) == sorted(f"{name} idle" for name in self.names)

    def refresh(self) -> None:
        """Make it as new: no jobs, and all nodes switched off and on."""
        self._ask("scancel", "--full", f"--user={os.geteuid()}")
        self._restart_nodes()
        if not wait_for(self._is_idle, PATIENCE_SECONDS):
            # It may wait for a minute for what is gone with a node, and put that node out of use.
            self._record.end("slurmctld")
            self._daemon("slurmctld", "slurmctld", "-D", "-c")
            self._restart_nodes()
        self.await_idle()

    def _restart_nodes(self) -> None:
        for name in self.names:
            self.kill_node(name)
            self.start_node(name)

    def _start_munge(self) -> None:
        key, at = self.directory / "munge.key", self.directory
        key.touch(0o600)
        key.write_bytes(os.urandom(128))
        self._daemon(
            "munged", "munged", "-F", "--force", f"--key-file={key}",
            f"--socket={at}/munge.socket", f"--pid-file={at}/munged.own",
            f"--log-file={at}/log/munged.log", f"--seed-file={at}/munge.seed",
        )  # fmt: skip
        if not wait_for((self.directory / "munge.socket").exists, UP_SECONDS):
            raise RuntimeError(f"munged does not listen:\n{self.diagnosis()}")

    def _daemon(self, name: str, *command: str) -> None:
        log = self.directory / "log" / f"{name}.out"
        self._record.start(name, command, log, {**os.environ, **self.environ})

    def _write_configuration(self) -> None:
        host = socket.gethostname()
        lines = [
            f"NodeName={name} NodeHostname={name if self.apart else host} NodeAddr=127.0.0.1 "
            f"Port={self.port + number + 1}"
            for number, name in enumerate(self.names)
        ]
        self.configuration.write_text(
            _CONFIGURATION.format(
                host=host, port=self.port, user="root", directory=self.directory,
                cpus=self.cpus, nodes="\n".join(lines),
            )
        )  # fmt: skip
        known = "".join(f"127.0.0.1 {name}\n" for name in ("localhost", host, *self.names))
        (self.directory / "hosts").write_text(known)

    # -- its nodes ------------------------------------------------------------------------------

    def machine(self, name: str) -> Machine:
        """The emulated machine that a node is, where they are apart."""
        return Machine(name, self.directory, self.directory / "hosts", bound=self._bound)

    def start_node(self, name: str) -> None:
        """Switch a node on (again)."""
        # An MPI that loses a node may fault: images of the memory of each rank help nobody.
        command = ["prlimit", "--core=0"]
        command += ["slurmd", "-D", "-N", name, "-f", str(self.configuration)]
        # Nothing that a test says in its environment belongs to a node.
        environ = {"HOME": os.environ.get("HOME", "/"), **self.environ}
        if self.apart:
            self.machine(name).boot(command, environ)
        else:
            log = self.directory / "log" / f"slurmd.{name}.out"
            self._record.start(name, command, log, environ)

    def kill_node(self, name: str) -> None:
        """Cut a node's power: its slurmd and all that runs on it end at once."""
        if self.apart:
            self.machine(name).die()
            return
        for number in (signal.SIGSTOP, signal.SIGKILL):
            # Stopped first: nothing on a node may see how the rest of it dies.
            for pid in self._pids_together(name):
                _send(pid, number)
        self._record.end(name)

    def kill_daemon(self, name: str) -> None:
        """kill -9 of a node's slurmd alone; what runs there goes on."""
        own = int((self.directory / f"slurmd.{name}.own").read_text())
        self.signal(name, own, signal.SIGKILL)

    def pids(self, name: str) -> list[int]:
        """Everything that runs on a node."""
        return self.machine(name).pids() if self.apart else self._pids_together(name)

    def _pids_together(self, name: str) -> list[int]:
        """The slurmd, its step daemons, what says that it is of this node, and all descendants."""
        mark = f"SLURMD_NODENAME={name}".encode()
        conf = f"SLURM_CONF={self.configuration}".encode()
        spool = f"{self.directory}/spool/{name}"
        parents, found = {}, {self._record.pid(name)} - {0}
        for path in Path("/proc").glob("[0-9]*"):
            try:
                words = (path / "environ").read_bytes().split(b"\0")
                parents[int(path.name)] = int(
                    (path / "stat").read_text().rpartition(")")[2].split()[1]
                )
                stepd = (path / "comm").read_text() == "slurmstepd\n"
                if (mark in words and conf in words) or (stepd and _works_in(path, spool)):
                    found.add(int(path.name))
            except (OSError, ValueError):
                continue
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return sorted(found)

    def signal(self, name: str, pid: int, number: int) -> None:
        """Send a signal to a process of a node, by the pid it has there."""
        command = ["kill", f"-{number:d}", str(pid)]
        inside = self.machine(name).inside(*command) if self.apart else command
        subprocess.run(inside, check=True)

    def node_states(self, mute: bool = False) -> list[str]:
        """What Slurm says of each node: ``n1 idle``, ``n2 down``; with ``mute``, also ``down*``."""
        said = self._ask("sinfo", "-h", "-N", "-o", "%N %t")
        return (said if mute else said.replace("*", "")).splitlines()

    # -- jobs -----------------------------------------------------------------------------------

    def submit(self, script: Path, *options: str, environ: Mapping[str, str] = os.environ) -> int:
        """Submit a batch script; the id of its job. Raises CalledProcessError."""
        done = subprocess.run(
            ["sbatch", "--parsable", *options, str(script)],
            env={**environ, **self.environ, "PATH": environ.get("PATH", PATH)},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True,
            timeout=ANSWER_SECONDS,
        )  # fmt: skip
        return int(done.stdout.split(";")[0])

    def state(self, job: int) -> str:
        """What Slurm says of a job (PENDING, RUNNING, COMPLETED, TIMEOUT, ...)."""
        said = self._ask("scontrol", "-o", "show", "job", str(job))
        return next((w[9:] for w in said.split() if w.startswith("JobState=")), "UNKNOWN")

    def expire(self, job: int) -> None:
        """Bring a job's time limit to now; Slurm acts on it in 30 s or less."""
        self._ask("scontrol", "update", f"jobid={job}", "EndTime=now+1")

    def cancel(self, job: int) -> None:
        """What ``scancel`` does to a job."""
        self._ask("scancel", str(job))

    def _ask(self, *command: str, seconds: float = ANSWER_SECONDS) -> str:
        try:
            done = subprocess.run(
                command, env={**os.environ, **self.environ}, capture_output=True, text=True,
                timeout=seconds, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return ""
        return done.stdout

    def diagnosis(self) -> str:
        """What Slurm says of itself."""
        parts = [self._ask("sinfo", "-N", "-l"), self._ask("squeue", "-l")]
        for path in sorted((self.directory / "log").glob("*")):
            parts.append(f"--- {path.name}:\n{path.read_text(errors='replace')[-1500:]}")
        return "\n".join(parts)


def _works_in(process: Path, directory: str) -> bool:
    try:
        links = [process / "cwd", *(process / "fd").iterdir()]
    except OSError:
        return False
    for link in links:
        try:
            if os.readlink(link).startswith(directory):
                return True
        except OSError:
            continue
    return False


def _send(pid: int, number: int) -> None:
    try:
        if pid:
            os.kill(pid, number)
    except ProcessLookupError:
        pass


def main() -> None:
    """Start and end a cluster by hand."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("do", choices=["up", "down", "kill", "start", "expire"])
    parser.add_argument("directory", type=Path)
    parser.add_argument("what", nargs="?", help="a node to kill or start, a job to expire")
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--cpus", type=int, default=4)
    parser.add_argument("--port", type=int, default=28800)
    parser.add_argument("--together", action="store_true", help="nodes share this host's name")
    given = parser.parse_args()
    reason = missing()
    if reason:
        parser.error(reason)
    cluster = Cluster(
        given.directory.resolve(), given.nodes, given.cpus, given.port, not given.together
    )
    if given.do == "up":
        begin = time.monotonic()
        cluster.start()
        print(f"# {len(cluster.names)} nodes are up after {time.monotonic() - begin:.1f} s")
        print(f"export SLURM_CONF={cluster.configuration}")
    elif given.do == "down":
        cluster.stop()
    elif given.do == "kill":
        cluster.kill_node(given.what)
    elif given.do == "start":
        cluster.start_node(given.what)
    else:
        cluster.expire(int(given.what))


if __name__ == "__main__":
    main()
