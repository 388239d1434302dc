"""Whether what the record says of attempts is what the tasks themselves have seen.

Tasks are ``traced.sh`` or ``traced_mpi.py``: each process leaves signs of life in its own file.
"""

from __future__ import annotations

import shlex
import sys
from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import pytest

from balsam import states
from balsam.core.models import BalsamJob, EventLog

from .conftest import PROGRAMS, Site

#: Clocks of one machine agree; what a busy one needs between an event and the time it notes.
TOLERANCE_SECONDS = 0.3
#: Ends after which a task may be alive for a while although its job was given out again.
UNSEEN = frozenset({states.LAUNCHER_LOST})


@dataclass(frozen=True)
class Sign:
    """One process of an attempt, by its own account. Times are seconds since the epoch."""

    job: str
    attempt: int
    node: str
    rank: int
    size: int
    begin: float
    last: float
    ended: bool


def traced(tenths: int, gate: Path | str = "", attempts: int = 1000) -> str:
    """A serial command that leaves traces for that long, and until the gate is there."""
    words = ["/bin/bash", str(PROGRAMS / "traced.sh"), str(tenths)]
    return shlex.join([*words, *([str(gate), str(attempts)] if gate else [])])


def traced_mpi(tenths: int, gate: Path | str = "", attempts: int = 1000) -> str:
    """The same of an MPI program."""
    words = [sys.executable, str(PROGRAMS / "traced_mpi.py"), str(tenths)]
    return shlex.join([*words, *([str(gate), str(attempts)] if gate else [])])


def bound_mpi(cpus: str = "") -> str:
    """An MPI program on the CPUs it was given, or on others that it takes."""
    return shlex.join([sys.executable, str(PROGRAMS / "bound_mpi.py"), *filter(None, [cpus])])


def traces(site: Site) -> Path:
    """Where the tasks of a project leave their traces; its launchers tell them."""
    directory = site.home / "traces"
    directory.mkdir(exist_ok=True)
    site.env["TRACES"] = str(directory)
    return directory


def signs(site: Site, name: str = "") -> list[Sign]:
    """What processes of all attempts (of one job) have noted so far, in order of their begin."""
    keys = {str(k): n for k, n in BalsamJob.objects.values_list("job_id", "name")}
    found = [_read(path, keys) for path in traces(site).iterdir() if path.stat().st_size]
    return sorted((s for s in found if name in ("", s.job)), key=lambda sign: sign.begin)


def _read(path: Path, keys: dict[str, str]) -> Sign:
    key, attempt, *_ = path.name.split(".")
    lines = [line.split() for line in path.read_text().splitlines() if line.count(" ") == 4]
    _, begin, node, rank, size = lines[0]
    last = float(lines[-1][1])
    ended = lines[-1][0] == "E"
    job = keys.get(key, key)
    return Sign(job, int(attempt), node, int(rank), int(size), float(begin), last, ended)


def alive(site: Site, name: str) -> list[Sign]:
    """The processes of a job that have begun and not said that they ended."""
    return [sign for sign in signs(site, name) if not sign.ended]


def running(site: Site, names: Collection[str]) -> bool:
    """Whether these jobs run by their own account, and by that of the record, which comes later.

    What is killed in between may have begun without anybody's knowledge.
    """
    return all(alive(site, name) and site.state(name) == states.RUNNING for name in names)


def check(
    site: Site, *, unseen: Collection[str] = UNSEEN, unrecorded: bool = False, finished: bool = True
) -> None:
    """Each history is true. Jobs that are no traced ones are checked by their events alone.

    ``unseen`` are causes after which an attempt may outlive its end in the record. With
    ``unrecorded``, a launcher was killed: it may have started what it had no time to note.
    """
    site.check_paths()
    said = "No problems." in site.balsam("fsck")
    wrong = [] if said else ["fsck finds problems"]
    seen: dict[str, list[Sign]] = defaultdict(list)
    for sign in signs(site):
        seen[sign.job].append(sign)
    for job in BalsamJob.objects.order_by("id"):
        wrong += [
            f"{job.name}: {fault}"
            for fault in (
                *_record_faults(site, job, finished),
                *_trace_faults(site, job, seen[job.name], unseen, unrecorded),
            )
        ]
    if wrong:
        pytest.fail("\n".join([*wrong, site.diagnosis()]))


def starts(job: BalsamJob) -> list[EventLog]:
    """The events with which attempts of a job began."""
    return list(EventLog.objects.filter(job=job, to_state=states.RUNNING).order_by("id"))


def _record_faults(site: Site, job: BalsamJob, finished: bool) -> list[str]:
    """What is wrong in the events alone."""
    begun = [event.data["attempt"] for event in starts(job)]
    ends = [event for event in site.ends(job.name) if event.from_state == states.RUNNING]
    ended = [event.data["attempt"] for event in ends]
    causes = [event.data["cause"] for event in ends]
    faults = []
    if begun != list(range(1, job.attempt + 1)):
        faults.append(f"attempts {begun} began, the job is at {job.attempt}")
    if ended != begun[: len(ended)] or len(begun) - len(ended) > (job.state == states.RUNNING):
        faults.append(f"attempts {begun} began, {ended} ended")
    if job.state == states.JOB_FINISHED and (
        causes.count(states.OK) != 1 or causes[-1] != states.OK
    ):
        faults.append(f"it is finished after {causes}")
    if finished and job.state != states.JOB_FINISHED:
        faults.append(f"it is {job.state} after {causes}")
    late = [
        (start.data["attempt"], end.timestamp)
        for end, start in zip(ends, starts(job)[1:], strict=False)
        if start.timestamp < end.timestamp
    ]
    if late:
        faults.append(f"attempts began before the end of the one before: {late}")
    return faults


def _trace_faults(
    site: Site, job: BalsamJob, seen: list[Sign], unseen: Collection[str], unrecorded: bool
) -> list[str]:
    """Where the events and the tasks' own accounts differ."""
    if "traced" not in job.direct_command:
        return []
    faults = []
    by_attempt: dict[int, list[Sign]] = defaultdict(list)
    for sign in seen:
        by_attempt[sign.attempt].append(sign)
    causes = {}
    for end in site.ends(job.name):
        attempt = end.data.get("attempt", 0)
        causes[attempt] = end.data["cause"]
        faults += _attempt_faults(job, end, by_attempt.get(attempt, []), unrecorded)
    if not unrecorded and set(by_attempt) - set(range(1, job.attempt + 1)):
        faults.append(f"attempts {sorted(by_attempt)} have run, the job is at {job.attempt}")
    faults += _twice_at_a_time(by_attempt)
    for one, other in zip(sorted(by_attempt), sorted(by_attempt)[1:], strict=False):
        last = max(sign.last for sign in by_attempt[one])
        begin = min(sign.begin for sign in by_attempt[other])
        if last > begin and causes.get(one) not in unseen:
            faults.append(
                f"attempt {one} ({causes.get(one)}) was alive at {last:.3f}, attempt {other} "
                f"began at {begin:.3f}"
            )
    return faults


def _twice_at_a_time(by_attempt: dict[int, list[Sign]]) -> list[str]:
    """Attempts of which two processes were the same rank, and alive at the same time."""
    faults = []
    for attempt, seen in by_attempt.items():
        for rank in {sign.rank for sign in seen}:
            same = [sign for sign in seen if sign.rank == rank]
            for one, other in zip(same, same[1:], strict=False):
                if one.last > other.begin:
                    faults.append(
                        f"attempt {attempt} was alive at {one.last:.3f} on {one.node}, and began "
                        f"once more at {other.begin:.3f} on {other.node}"
                    )
    return faults


def _attempt_faults(job: BalsamJob, end: EventLog, seen: list[Sign], unrecorded: bool) -> list[str]:
    attempt, cause = end.data.get("attempt"), end.data["cause"]
    ranks = Counter(sign.rank for sign in seen)
    faults = []
    if ranks and max(ranks.values()) > 1 and not unrecorded:
        faults.append(f"attempt {attempt} ran more than once: ranks {dict(ranks)}")
    if cause == states.OK:
        whole = [sign for sign in seen if sign.ended]
        if unrecorded:
            # What the killed launcher had not noted may have run to its end, too.
            whole = list({sign.rank: sign for sign in whole}.values())
        wanted = job.num_nodes * job.ranks_per_node
        if sorted(sign.rank for sign in whole) != list(range(wanted)):
            faults.append(f"attempt {attempt} is ok, but of {wanted} ranks ended {len(whole)}")
        if any(sign.size != wanted for sign in whole):
            faults.append(f"attempt {attempt}: sizes {[sign.size for sign in whole]}")
        where = Counter(sign.node for sign in whole)
        if set(where) != set(end.data["nodes"]) or set(where.values()) != {job.ranks_per_node}:
            faults.append(f"attempt {attempt} ran on {dict(where)}, not {end.data['nodes']}")
    elif any(sign.ended and sign.rank == 0 for sign in seen) and cause in (states.OK, states.EXIT):
        faults.append(f"attempt {attempt} has run to its end, but its cause is {cause}")
    if seen and not unrecorded:
        begin = min(sign.begin for sign in seen)
        if cause == states.OK:
            last = max(sign.last for sign in seen)
            if end.timestamp.timestamp() < last - TOLERANCE_SECONDS:
                faults.append(f"attempt {attempt} was alive after its end")
        if end.timestamp.timestamp() < begin - TOLERANCE_SECONDS:
            faults.append(f"attempt {attempt} began after its end")
    return faults
