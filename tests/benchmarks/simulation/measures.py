"""What a trace of the nodes says: how well they were used, and where the rest went."""

from __future__ import annotations

from dataclasses import dataclass

from tests.benchmarks.simulation.nodes import Trace

#: The allocation counts as full from the moment when so much of it is busy.
FULL = 0.99
BINS = 300


@dataclass(frozen=True)
class Use:
    """Shares of all slot-seconds from the launcher's begin to the end of the last task.

    ``busy`` + ``ramp`` (idle before the allocation was full) + ``gaps`` (idle between tasks, while
    there were more to start) + ``tail`` (idle after the last start) = 1. Times are seconds after
    the begin; ``profile`` is the busy share of the slots in :data:`BINS` equal intervals.
    """

    busy: float
    ramp: float
    gaps: float
    tail: float
    makespan: float
    full_at: float
    last_start: float
    every_node_at: float
    nodes_used: int
    profile: tuple[float, ...]


def use_of(trace: Trace, nodes: int, begin: float) -> Use:
    """Look at all attempts of a run that is over."""
    slots = trace.slots * nodes
    changes = sorted(
        [(time, abs(width)) for time, width in zip(trace.begins, trace.widths, strict=True)]
        + [(time, -abs(width)) for time, width in zip(trace.ends, trace.widths, strict=True)]
    )
    end, last_start = changes[-1][0], max(trace.begins)
    makespan = end - begin
    profile = [0.0] * BINS
    full_at, idle_before = last_start, 0.0
    now, held, idle, idle_at_last_start = begin, 0.0, 0.0, 0.0
    is_full = False
    for time, change in changes:
        _fill(profile, (now - begin) / makespan, (time - begin) / makespan, held / slots)
        idle += (slots - held) * (time - now)
        now, held = time, held + change
        if not is_full and held >= FULL * slots:
            is_full, full_at, idle_before = True, time, idle
        if time <= last_start:
            idle_at_last_start = idle
    whole = slots * makespan
    if not is_full:
        idle_before = idle_at_last_start
    return Use(
        busy=1 - idle / whole,
        ramp=idle_before / whole,
        gaps=(idle_at_last_start - idle_before) / whole,
        tail=(idle - idle_at_last_start) / whole,
        makespan=makespan,
        full_at=full_at - begin,
        last_start=last_start - begin,
        every_node_at=max(trace.first.values()) - begin,
        nodes_used=len(trace.first),
        profile=tuple(round(value, 4) for value in profile),
    )


def _fill(profile: list[float], first: float, last: float, height: float) -> None:
    """Add ``height`` over a part (0 to 1) of the profile."""
    at, end = first * BINS, min(last * BINS, float(BINS))
    while at < end:
        number = min(int(at), BINS - 1)
        to = min(end, number + 1.0)
        if to <= at:
            return
        profile[number] += height * (to - at)
        at = to
