"""``balsam machines``: the machines that Balsam knows, and which of them this is."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from balsam.cli import output
from balsam.cli.commands import Command

if TYPE_CHECKING:
    from balsam.conf.machines import Machine

COLUMNS = ("name", "scheduler", "cores", "gpus", "title")


@click.command("machines", cls=Command)
@click.argument("names", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="All that is known of them, as JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="The list as CSV.")
def command(names: tuple[str, ...], as_json: bool, as_csv: bool) -> None:
    """List the machines that Balsam knows, or show some of them; * marks this one.

    NAMES are machines, or paths of machine files. Files in machines/ of the project come first;
    the setting launcher.machine says which one to use.
    """
    if as_json and as_csv:
        raise click.UsageError("Give one of --json and --csv.")
    from balsam.conf import machines
    from balsam.conf import project as projects
    from balsam.errors import ProjectNotFound
    from balsam.platform.allocation import scheduler_of

    directory, setting = None, machines.AUTO
    with contextlib.suppress(ProjectNotFound):
        project = projects.find()
        directory, setting = project.path, project.settings().launcher.machine
    found = [machines.load(name, directory) for name in names or machines.available(directory)]
    scheduler = scheduler_of(os.environ)
    here = machines.load(setting, directory, scheduler=scheduler, hosts=_hosts())
    if as_json:
        output.print_json({**asdict(one), "here": one.path == here.path} for one in found)
    elif as_csv:
        output.print_csv_rows(COLUMNS, (_row(one) for one in found))
    elif names:
        for one in found:
            output.emit(_record(one))
    else:
        rows = [
            [f"{name}{'*' if one.path == here.path else ''}", *rest]
            for one in found
            for name, *rest in [_row(one)]
        ]
        output.emit(output.table(COLUMNS, rows))


def _hosts() -> list[str]:
    """The names that a launcher would go by: this host's, and the first node's of a batch job."""
    from balsam.errors import AllocationError
    from balsam.platform import allocation

    hosts = [socket.gethostname()]
    # A list of nodes that can not be used keeps launchers from starting, not this.
    with contextlib.suppress(AllocationError):
        hosts.append(allocation.detect(os.environ, time.time(), ask=False).nodes[0])
    return hosts


def _row(machine: Machine) -> list[Any]:
    cores = machine.shape.cores if machine.shape else "as it is"
    return [machine.name, machine.scheduler, cores, len(machine.gpus), machine.title]


def _record(machine: Machine) -> Iterator[str]:
    """What a person wants to know of one machine."""
    from balsam.conf.machines import AUTO

    shape, mpi = machine.shape, f"{machine.mpi_program} ({machine.mpi_flavour})"
    workers = f"{machine.serial_program} ({machine.serial_flavour}) {machine.serial_flags}"
    yield from output.labelled(
        [
            ("name", machine.name),
            ("title", machine.title),
            ("file", machine.path),
            ("scheduler", machine.scheduler),
            ("cores", shape.cores if shape else "as the node has"),
            ("hardware threads per core", shape.threads_per_core if shape else ""),
            ("NUMA domains", max(1, len(shape.numa)) if shape else ""),
            ("most ranks on a node", machine.max_ranks_per_node or ""),
            ("GPUs, in order", ", ".join(machine.gpus)),
            ("NUMA domain of each GPU", ", ".join(map(str, machine.gpu_numa))),
            ("GPU variables", ", ".join(machine.gpu_masks)),
            ("other GPU variables", ", ".join(map("=".join, machine.gpu_environ.items()))),
            ("MPI", f"{mpi} {machine.mpi_flags}".strip()),
            ("workers", "" if machine.serial_program == AUTO else workers.strip()),
            ("mpiruns at once", machine.max_concurrent_mpiruns or ""),
            ("mpiruns of a launcher", machine.max_launches or ""),
            ("jobs share nodes", "yes" if machine.pack else "no"),
        ]
    )
    for queue in machine.queues.values():
        sizes = "; ".join(
            f"{one.min_nodes}-{one.max_nodes} nodes for {one.min_minutes}-{one.max_minutes} min"
            for one in queue.windows
        )
        by_hand = "" if queue.submit else ", by hand only"
        text = f"{sizes or 'any size'}, {queue.max_queued} queued{by_hand}"
        yield from output.labelled([(f"queue {queue.name}", text)])
    yield ""
