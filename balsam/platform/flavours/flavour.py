"""One flavour of mpirun: how its command line is written, and how its messages are read."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from balsam.errors import LaunchError
from balsam.platform import nodelist
from balsam.platform.affinity import BINDINGS
from balsam.platform.flavours.launch import Launch
from balsam.platform.launch_params import OWN_PARAMS, check_single
from balsam.platform.process import reason
from balsam.platform.variables import LONGEST_LIST

#: How many ranks go together as one set, and how many GPUs a set has. Raises LaunchError.
RankSet = Callable[[Launch], tuple[int, int]]
#: How the hardware threads of each rank are written: ``[(0, 4), (1, 5)] -> "0,4:1,5"``.
CpuList = Callable[[Sequence[Sequence[int]]], str]


@dataclass(frozen=True)
class Option:
    """Words of a command line, written when all of ``when`` hold.

    ``when`` are facts about the launch: "hosts" and "here" (with hosts or without), "listed" and
    "filed" (hosts on the line, or in a file), "unbound" and "bound", the binding ("none", "depth",
    "core", "numa", "list", "wish"), "own_cores" (for "depth" and "core") and "crowded" (as in
    Launch), "single" (one thread on each core), "gpus" (each rank has GPUs of its own),
    "given_gpus" (it is said which), "rank_gpus" (of each rank).
    With a ``!`` the fact must not hold.
    """

    words: tuple[str, ...]
    when: tuple[str, ...] = ()

    def holds(self, facts: frozenset[str]) -> bool:
        """Whether it is to be written."""
        return all(
            (fact[1:] not in facts) if fact[0] == "!" else fact in facts for fact in self.when
        )


def option(words: str, when: str = "") -> Option:
    """An option from text, both parts split at spaces."""
    return Option(tuple(words.split()), tuple(when.split()))


def mask(numbers: Iterable[int]) -> str:
    """``0x11`` for 0 and 4."""
    return hex(sum(1 << number for number in set(numbers)))


def any_of(*alternatives: str) -> re.Pattern[str]:
    """A pattern that finds any of ``alternatives``, line by line."""
    return re.compile("|".join(f"(?:{text})" for text in alternatives), re.MULTILINE)


#: For launchers that start their daemons with srun: beside other steps, and bound to nothing.
INNER_SRUN = {"SLURM_OVERLAP": "1", "SLURM_CPU_BIND": "none"}
#: What is known of how ranks are bound; anything else is free, or the user's own wish.
BOUND = frozenset({*BINDINGS, "list"} - {"none"})
#: Finds nothing.
NOTHING = re.compile(r"(?!)")


def _each_alone(launch: Launch) -> tuple[int, int]:
    return 1, int(launch.gpus_per_rank)


@dataclass(frozen=True)
class Flavour:
    """One family of mpirun.

    Options are templates of {ranks} {per_node} {nodes} {hosts} {hosts_file} {threads_per_core}
    {wish}, of {threads} {cores} {cpus} {gpu_masks} of each rank, of the hardware threads of its
    cores ({domain}), and of the {held} CPUs of all. There are {sets} of {ranks_per_set},
    {sets_per_node}, with {cores_per_set} and {gpus}: a set is one rank, unless ``rank_set`` says
    otherwise.
    """

    name: str
    label: str
    line: tuple[Option, ...]
    #: Options of one worker on each node, in place of ``line``.
    workers_line: tuple[Option, ...]
    #: What stands before the program.
    prefix: tuple[Option, ...] = ()
    #: How one entry of {hosts} is written, and what becomes of a host's name in it.
    host: str = "{host}"
    #: How one line of {hosts_file} is written.
    host_line: str = "{host}"
    spell: Callable[[str], str] = str
    #: How one variable is named on the line; '' where ranks get the whole environment anyway.
    variable: str = ""
    #: What every rank of a node has in its environment, each with a value of its own; what starts
    #: ranks has it not.
    rank_variable: str = ""
    #: How a launch parameter is written: as it stands ("plain", key and value), with the dashes it
    #: lacks ("dashes"), or the value alone ("values").
    params: str = "dashes"
    cpu_list: CpuList | None = None
    rank_set: RankSet = _each_alone
    #: Other names of the same option, without dashes, to the name that ``line`` uses.
    aliases: Mapping[str, str] = field(default_factory=dict)
    #: Whether it starts ranks through a system of its own: it must be told hosts even if the only
    #: one is this, and its ranks are not confined by confining it.
    remote: bool = False
    #: Whether it reads lists of hosts in bracket form.
    folds_hosts: bool = False
    #: Whether several of its launches may run on one node at the same time.
    shares_nodes: bool = True
    #: Whether it sets the GPU masks itself, whatever the environment says.
    overwrites_masks: bool = False
    #: Messages that a program can not be run; each may name the ``program``.
    missing: tuple[re.Pattern[str], ...] = ()
    #: Messages that the ranks could not be started.
    refused: re.Pattern[str] = NOTHING
    #: Messages that prove that the ranks did start, so that the failure is the program's own.
    ran: re.Pattern[str] = NOTHING
    #: Messages that a node was lost; each may name it in a group.
    lost: re.Pattern[str] = NOTHING
    #: Messages that a rank was killed for want of memory.
    oom: re.Pattern[str] = NOTHING
    #: Whether it may end with code 0 when a node was lost, so that ``lost`` has to be looked for.
    quiet_loss: bool = False
    #: The exit codes of a launch that failed; none means that it may be any.
    failure_codes: frozenset[int] = frozenset()
    environment: Mapping[str, str] = field(default_factory=dict)
    #: Beside it, by binding; templates like the options.
    binding_environment: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    #: Beside it, without hosts: so that no batch system is asked, and no step of it started.
    here_environment: Mapping[str, str] = field(default_factory=dict)
    #: Beside it, with hosts.
    hosts_environment: Mapping[str, str] = field(default_factory=dict)
    root_environment: Mapping[str, str] = field(default_factory=dict)

    def filed(self, launch: Launch, path: str) -> Launch:
        """The launch with its hosts in a file, which is written, if they do not fit the line.

        Raises LaunchError.
        """
        reads_files = any("filed" in entry.when for entry in self.line)
        if not reads_files or len(self._hosts(launch)) <= LONGEST_LIST:
            return launch
        try:
            with open(path, "w", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in self._entries(launch, self.host_line))
        except OSError as error:
            raise LaunchError(
                f"The list of hosts {path} can not be written: {reason(error)}."
            ) from error
        return replace(launch, hosts_file=path)

    def run(self, mpirun: str, argv: Sequence[str], launch: Launch) -> list[str]:
        """The line that runs ``argv`` on all ranks, unbound unless asked, oversubscribed if needed.

        An option in ``launch.flags`` replaces Balsam's own of that name, for launchers refuse to be
        told twice. Raises LaunchError.
        """
        return self._written(self.line, mpirun, argv, launch)

    def workers(
        self,
        mpirun: str,
        hosts: Sequence[str],
        argv: Sequence[str],
        variables: Sequence[str] = (),
        flags: Sequence[str] = (),
        hosts_file: str = "",
    ) -> list[str]:
        """The line that runs ``argv`` as one rank on each host, bound to nothing.

        Only rank 0 gets the standard input. The ranks may share their nodes with other launches,
        and go on when a node dies where this MPI can do that. ``hosts_file`` is where to write the
        hosts if they do not fit the line. Raises LaunchError.
        """
        launch = Launch(len(hosts), 1, hosts, variables=variables, flags=flags)
        if hosts_file:
            launch = self.filed(launch, hosts_file)
        return self._written(self.workers_line, mpirun, argv, launch)

    def environ(self, launch: Launch | None = None) -> dict[str, str]:
        """Variables the launcher needs beside the job's; those the user has set go before them."""
        needed = {**self.environment, **(self.root_environment if os.geteuid() == 0 else {})}
        if launch is not None:
            needed.update(self.hosts_environment if launch.hosts else self.here_environment)
            values = self._values(launch)
            for name, text in self.binding_environment.get(launch.bound, {}).items():
                needed[name] = text.format_map(values)
        return needed

    def binds(self, launch: Launch, environ: Mapping[str, str]) -> bool:
        """Whether ranks are to be bound as ``launch`` says, with these variables.

        Flags of the user may say it in another way, and so may variables.
        """
        if launch.bound not in BOUND:
            return False
        options = {self._name(one.words[0]) for one in self.line if not BOUND.isdisjoint(one.when)}
        if any(self._name(flag) in options for flag in launch.flags if flag.startswith("-")):
            return False
        told = self.environ(launch)
        names = self.binding_environment.get(launch.bound, {})
        return all(environ.get(name) == told[name] for name in names)

    def lost_node(self, output: str) -> str | None:
        """The node that the launcher says it lost; '' if it names none, None if it lost none."""
        message = self.lost.search(output)
        if message is None:
            return None
        return next((name for name in message.groups() if name), "")

    def _written(
        self, options: Sequence[Option], mpirun: str, argv: Sequence[str], launch: Launch
    ) -> list[str]:
        facts = _facts(launch)
        values = self._values(launch)
        given = {self._name(flag) for flag in launch.flags if flag.startswith("-")}
        line = [mpirun]
        for entry in options:
            if self._name(entry.words[0]) not in given and entry.holds(facts):
                line += [part.format_map(values) for part in entry.words]
        if self.variable and launch.hosts:
            for name in launch.variables:
                line += self.variable.format(name=name).split()
        line += [*self._params(launch), *launch.flags]
        if self.overwrites_masks and launch.masks and not launch.rank_gpus:
            line += ["env", *(f"{name}={value}" for name, value in launch.masks.items())]
        for entry in self.prefix:
            if entry.holds(facts):
                line += [part.format_map(values) for part in entry.words]
        return [*line, *argv]

    def _values(self, launch: Launch) -> dict[str, object]:
        each = launch.rank_cpus if self.cpu_list else ()
        together, gpus = self.rank_set(launch)
        return {
            "ranks": launch.ranks,
            "per_node": launch.ranks_per_node,
            "nodes": launch.nodes,
            "hosts": "" if launch.hosts_file else self._hosts(launch),
            "hosts_file": launch.hosts_file,
            "threads": launch.threads_per_rank,
            "cores": launch.cores_per_rank,
            "domain": launch.cores_per_rank * launch.lanes,
            "threads_per_core": launch.threads_per_core,
            "sets": launch.ranks // together,
            "ranks_per_set": together,
            "sets_per_node": launch.ranks_per_node // together,
            "cores_per_set": launch.cores_per_rank * together,
            "gpus": gpus,
            "gpu_masks": ",".join(map(mask, launch.rank_gpus)),
            "held": ",".join(str(cpu) for cpus in sorted(set(launch.rank_cpus)) for cpu in cpus),
            "wish": launch.wish,
            "cpus": self.cpu_list(each) if self.cpu_list and each else "",
        }

    def _hosts(self, launch: Launch) -> str:
        listed = ",".join(self._entries(launch, self.host))
        folded = self.folds_hosts and len(listed) > LONGEST_LIST
        return nodelist.compress(map(self.spell, launch.hosts)) if folded else listed

    def _entries(self, launch: Launch, template: str) -> Iterator[str]:
        for host in launch.hosts:
            yield template.format(host=self.spell(host), per_node=launch.ranks_per_node)

    def _name(self, word: str) -> str:
        name = word.lstrip("-").partition("=")[0]
        return self.aliases.get(name, name)

    def _params(self, launch: Launch) -> Iterator[str]:
        for key, value in launch.params.items():
            if key in OWN_PARAMS or value is None or value is False:
                continue
            check_single(key, value)
            if self.params != "values":
                dashes = "" if self.params == "plain" or key[0] == "-" else "--"[: len(key)]
                yield dashes + key
            if value is not True:
                yield str(value)


def _facts(launch: Launch) -> frozenset[str]:
    bound = launch.bound
    facts = {bound, "hosts" if launch.hosts else "here", "unbound" if bound == "none" else "bound"}
    more = {
        "listed": launch.hosts and not launch.hosts_file,
        "filed": launch.hosts_file,
        "own_cores": launch.has_own_cores,
        "crowded": launch.crowded,
        "single": launch.threads_per_core == 1,
        "gpus": launch.gpus_per_rank >= 1,
        "given_gpus": launch.gpus,
        "rank_gpus": launch.rank_gpus,
    }
    return frozenset(facts.union(name for name, holds in more.items() if holds))
