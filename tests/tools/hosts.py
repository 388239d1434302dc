"""Several hosts on one machine: each with its own name, pids and network, reached by ssh.

``python -m tests.tools.hosts up DIR [--hosts 3]`` starts them and prints their names, ``down DIR``
ends them; ``run DIR HOST COMMAND...`` runs a command on one. They share the file system. An agent
for mpirun (``-launcher-exec``, ``plm_ssh_agent``) that knows their keys is DIR/agent.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.tools.emulated import PATH, Machine, lacking, wait_for

PROGRAMS = ("ip", "sshd", "ssh", "ssh-keygen")
_CLIENT = """\
Host *
  IdentityFile {at}/key
  UserKnownHostsFile /dev/null
  StrictHostKeyChecking no
  ConnectTimeout 10
  LogLevel ERROR
"""
_SERVER = """\
HostKey {at}/hostkey
AuthorizedKeysFile {at}/key.pub
StrictModes no
PermitRootLogin yes
UsePAM no
PidFile none
MaxStartups 100
"""


def missing() -> str:
    """Why there can be no hosts here, '' if there can."""
    reason = lacking(*PROGRAMS)
    attempt = f"balsam-try-{os.getpid()}"
    if not reason and _ip("netns", "add", attempt).returncode:
        return "no networks can be made here"
    _ip("netns", "del", attempt)
    return reason


def claim() -> tuple[str, str]:
    """A prefix of names and a network that no others have: the bridge that claims them is there."""
    links = _ip("-o", "link").stdout + _ip("-o", "addr").stdout
    # What is left of a run that was killed may be networks without links.
    taken = [line[: len("b00n")] for line in _ip("netns").stdout.splitlines()]
    for number in range(100):
        prefix, network = f"b{number:02}n", f"10.{100 + number}.0"
        if prefix in taken or f" {prefix}-" in links or f" {network}." in links:
            continue
        # Two may look at the same time; only one can make it.
        if not _ip("link", "add", f"{prefix}-br", "type", "bridge").returncode:
            return prefix, network
    raise RuntimeError("no free network")


class Hosts:
    """Hosts NAME0001, NAME0002... in a directory, on a bridge of their own.

    If they are ``bound``, they end with the process that started them; the bridge, which is there
    before them then, does not.
    """

    def __init__(
        self,
        directory: Path,
        number: int = 3,
        prefix: str = "nid",
        network: str = "10.78.0",
        bound: bool = False,
    ) -> None:
        self.directory = Path(directory)
        self._bound = bound
        kept = self.directory / "hosts.json"
        given = {"number": number, "prefix": prefix, "network": network}
        if kept.exists():
            given = json.loads(kept.read_text())
        self._given = given
        self._prefix, self._network = str(given["prefix"]), str(given["network"])
        self.names = [f"{self._prefix}{index + 1:04}" for index in range(int(given["number"]))]
        self._bridge = f"{self._prefix}-br"
        self.agent = self.directory / "agent"

    # -- their life -----------------------------------------------------------------------------

    def start(self) -> None:
        """Switch all on, and wait until each answers. Raises RuntimeError."""
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "hosts.json").write_text(json.dumps(self._given))
        self._write_files()
        if not self._bound:
            _must("link", "add", self._bridge, "type", "bridge")
        _must("addr", "add", f"{self._network}.1/24", "dev", self._bridge)
        _must("link", "set", self._bridge, "up")
        for name in self.names:
            self._connect(name)
            self.boot(name)
        for name in self.names:
            if not wait_for(lambda one=name: self._answers(one), 60.0):  # type: ignore[misc]
                raise RuntimeError(f"{name} does not answer:\n{self.diagnosis()}")

    def stop(self) -> None:
        """Switch all off, and remove their network and the directory."""
        for name in self.names:
            self.kill(name)
            # Not left to the end of the network: a process from outside may still be in it.
            _ip("link", "del", self._port(name))
            _ip("netns", "del", name)
        _ip("link", "del", self._bridge)
        shutil.rmtree(self.directory, ignore_errors=True)

    def refresh(self) -> None:
        """Make them as new: switched off and on, and connected."""
        for name in self.names:
            self.kill(name)
            self.join(name)
            self.boot(name)
        for name in self.names:
            wait_for(lambda one=name: self._answers(one), 60.0)  # type: ignore[misc]

    def machine(self, name: str) -> Machine:
        """The emulated machine that a host is."""
        return Machine(name, self.directory, self.directory / "hosts", name, self._bound)

    def boot(self, name: str) -> None:
        """Switch one on (again)."""
        sshd = shutil.which("sshd", path=PATH) or "sshd"
        command = [sshd, "-D", "-f", str(self.directory / "sshd_config")]
        self.machine(name).boot(command, {"HOME": "/root", "PATH": PATH})

    def kill(self, name: str) -> None:
        """Cut a host's power."""
        self.machine(name).die()

    def cut_off(self, name: str) -> None:
        """Unplug its network; what runs there goes on, and nobody else hears of it."""
        _must("link", "set", self._port(name), "down")

    def join(self, name: str) -> None:
        """Plug its network in again."""
        _must("link", "set", self._port(name), "up")

    def inside(self, name: str, *command: str, directory: str | Path = "/") -> list[str]:
        """A command line that runs ``command`` on a host."""
        return self.machine(name).inside(*command, directory=directory)

    def mpi_environ(self) -> dict[str, str]:
        """What tells each mpirun how to reach the hosts."""
        agent = str(self.agent)
        return {
            "HYDRA_LAUNCHER": "ssh",
            "HYDRA_LAUNCHER_EXEC": agent,
            "I_MPI_HYDRA_BOOTSTRAP": "ssh",
            "I_MPI_HYDRA_BOOTSTRAP_EXEC": agent,
            "OMPI_MCA_plm_rsh_agent": agent,
            "PRTE_MCA_plm_ssh_agent": agent,
            # The daemons call their directories by pids alone, and /tmp is that of all hosts.
            "OMPI_MCA_orte_tmpdir_base": "/var/tmp",
            "PRTE_MCA_prte_tmpdir_base": "/var/tmp",
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        }

    def diagnosis(self) -> str:
        """What their daemons have said."""
        logs = sorted(self.directory.glob("*.log"))
        return "\n".join(f"--- {path.name}:\n{path.read_text()[-1500:]}" for path in logs)

    # -- parts ----------------------------------------------------------------------------------

    def _write_files(self) -> None:
        at = self.directory
        Path("/run/sshd").mkdir(exist_ok=True)
        for key in ("key", "hostkey"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(at / key)]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        (at / "ssh_config").write_text(_CLIENT.format(at=at))
        (at / "sshd_config").write_text(_SERVER.format(at=at))
        self.agent.write_text(f'#!/bin/sh\nexec ssh -F {at}/ssh_config "$@"\n')
        self.agent.chmod(0o755)
        known = "".join(f"{self._address(name)} {name}\n" for name in self.names)
        (at / "hosts").write_text(f"127.0.0.1 localhost\n{known}")

    def _connect(self, name: str) -> None:
        _must("netns", "add", name)
        _must(
            "link", "add", self._port(name), "type", "veth", "peer", "name", "eth0", "netns", name
        )
        _must("link", "set", self._port(name), "master", self._bridge, "up")
        _must("-n", name, "addr", "add", f"{self._address(name)}/24", "dev", "eth0")
        _must("-n", name, "link", "set", "eth0", "up")
        _must("-n", name, "link", "set", "lo", "up")

    def _address(self, name: str) -> str:
        return f"{self._network}.{11 + self.names.index(name)}"

    def _port(self, name: str) -> str:
        return f"{self._prefix}-v{self.names.index(name) + 1}"

    def _answers(self, name: str) -> bool:
        # From another host: the way mpirun will go.
        other = next((one for one in self.names if one != name), name)
        if not self.machine(other).first or not self.machine(name).first:
            return False
        command = self.inside(other, str(self.agent), name, "true")
        return not subprocess.run(command, capture_output=True, timeout=30).returncode


@contextlib.contextmanager
def temporary(number: int) -> Iterator[Hosts]:
    """So many hosts that end with this process, with names and a network that no others have."""
    directory = Path(tempfile.mkdtemp(prefix="bho-", dir="/tmp"))
    prefix, network = claim()
    made = Hosts(directory, number, prefix, network, bound=True)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(directory, ignore_errors=True)


def _ip(*words: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PATH": PATH}
    return subprocess.run(["ip", *words], env=environ, capture_output=True, text=True)


def _must(*words: str) -> None:
    done = _ip(*words)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def main() -> None:
    """Start and end hosts by hand."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("do", choices=["up", "down", "kill", "boot", "cut", "join", "run"])
    parser.add_argument("directory", type=Path)
    parser.add_argument("host", nargs="?")
    parser.add_argument("command", nargs="*", help="after -- if it has options")
    parser.add_argument("--hosts", type=int, default=3)
    parser.add_argument("--prefix", default="nid")
    parser.add_argument("--network", default="10.78.0")
    given = parser.parse_args()
    reason = missing()
    if reason:
        parser.error(reason)
    hosts = Hosts(given.directory.resolve(), given.hosts, given.prefix, given.network)
    if given.do == "up":
        hosts.start()
        print(" ".join(hosts.names))
    elif given.do == "down":
        hosts.stop()
    elif given.do == "run":
        command = hosts.inside(given.host, *given.command, directory=os.getcwd())
        os.execvp(command[0], command)
    else:
        do = {"kill": hosts.kill, "boot": hosts.boot, "cut": hosts.cut_off, "join": hosts.join}
        do[given.do](given.host)


if __name__ == "__main__":
    main()
