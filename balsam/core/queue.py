"""The queue of runnable jobs: which comes first, and which may be leased now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction

from balsam import states
from balsam.core.offer import ROUNDING
from balsam.core.sql import among, in_json, is_sqlite, key_list, quoted

#: Wall times up to this say nothing: it is what a job has whose user gave none.
NOT_GIVEN = 1


@dataclass(frozen=True)
class Order:
    """An order of jobs of the same priority: columns, each with whether the largest is first.

    ``index`` is that of the runnable jobs in this order.
    """

    index: str
    by: tuple[tuple[str, bool], ...]

    @property
    def sql(self) -> str:
        """What comes behind ORDER BY."""
        columns = (("priority", True), *self.by, ("id", False))
        return ", ".join(f"{name}{' DESC' if largest else ''}" for name, largest in columns)

    def key(self, row: Sequence[Any], place: Mapping[str, int]) -> tuple[Any, ...]:
        """The same for a row, by the places of the columns in it."""
        values = [row[place[name]] * (-1 if largest else 1) for name, largest in self.by]
        return (-row[place["priority"]], *values, row[place["id"]])


WIDE_FIRST = "wide_first"
#: By the name of ``launcher.sort_by``.
ORDERS = {
    WIDE_FIRST: Order("balsam_job_runnable", (("num_nodes", True), ("wall_time_minutes", True))),
    "long_large_first": Order(
        "balsam_job_runnable_long", (("wall_time_minutes", True), ("num_nodes", True))
    ),
    "short_first": Order(
        "balsam_job_runnable_short", (("wall_time_minutes", False), ("num_nodes", False))
    ),
    "fifo": Order("balsam_job_runnable_fifo", ()),
}


def prepare(sort_by: str) -> None:
    """Make the index of an order; that of the default is always there.

    Without it a lease would sort all that is runnable: 250 to 580 ms of 100,000 jobs, instead of
    a few. An index that nobody needs would cost every start and end of a job a write.
    """
    if sort_by == WIDE_FIRST:
        return
    order = ORDERS[sort_by]
    with transaction.atomic(), connection.cursor() as cursor:
        if not is_sqlite():
            # IF NOT EXISTS is of no help against another that begins at the same moment.
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (order.index,))
        cursor.execute(
            f"""CREATE INDEX IF NOT EXISTS {order.index} ON balsam_job ({order.sql})
                WHERE state IN ({quoted(states.RUNNABLE_STATES)}) AND session_id IS NULL"""
        )


@dataclass(frozen=True)
class Rooms:
    """What is free on nodes of so many ``cores``, for jobs that need no more than one.

    ``free`` are (GPUs, cores) of nodes, where no other has more of both; ``idle``: one is in
    nobody's use.
    """

    cores: int
    free: tuple[tuple[float, float], ...]
    idle: bool

    def covers(self, other: Rooms) -> bool:
        """Whether all that there is room for in the other has room here."""
        return self.idle >= other.idle and all(
            any(gpus <= more_gpus and cores <= more for more_gpus, more in self.free)
            for gpus, cores in other.free
        )

    def sql(self) -> tuple[str, tuple[Any, ...]]:
        """The condition that a job of one node has room, or needs several."""
        choices, parameters = [], []
        for gpus, cores in self.free:
            choice = "ranks_per_node * gpus_per_rank <= %s"
            parameters.append(gpus + ROUNDING)
            if cores < self.cores:
                choice += f" AND {_HAS_CORES}"
                parameters += [cores, self.cores, cores]
            choices.append(f"({choice})")
        one = " OR ".join(choices) or "1 = 0"
        if not self.idle:
            whole, yes = in_json("launch_params", "whole_nodes"), "1" if is_sqlite() else "'true'"
            one = f"({one}) AND NOT COALESCE({whole} = {yes}, FALSE)"
        return f"(num_nodes > 1 OR {one})", tuple(parameters)


#: Of so many that are free, those of a node, and so many.
_HAS_CORES = """CASE WHEN node_packing_count > 1 THEN node_packing_count * %s >= %s
    ELSE (ranks_per_node * threads_per_rank + threads_per_core - 1) / threads_per_core <= %s END"""


@dataclass(frozen=True)
class Bounds:
    """What jobs may ask for, and how long they may take, to be leased now.

    ``seconds`` is compared with the ``wall_time_minutes`` of a job; where the user gave none
    (``NOT_GIVEN``), with what its application takes: a job of one of ``too_long`` is left, of any
    other not. If ``known`` is not None, only jobs of these applications are taken then. No job
    takes longer than its ``time_limit_minutes``.
    """

    nodes: int | None = None
    seconds: float | None = None
    too_long: tuple[int, ...] = ()
    known: tuple[int, ...] | None = None
    #: On each node; 0 ranks are no limit.
    ranks: int = 0
    gpus: int | None = None
    rooms: Rooms | None = None

    @property
    def restrict(self) -> bool:
        """Whether there may be jobs outside of them."""
        bounds = (self.nodes, self.seconds, self.gpus, self.rooms)
        return any(bound is not None for bound in bounds)

    def sql(self) -> tuple[str, tuple[Any, ...]]:
        """Conditions, each with AND before it, and their parameters."""
        where = ""
        parameters: list[Any] = []
        if self.nodes is not None:
            where += " AND num_nodes <= %s"
            parameters.append(self.nodes)
        if self.ranks:
            where += " AND ranks_per_node <= %s"
            parameters.append(self.ranks)
        if self.gpus is not None:
            where += " AND ranks_per_node * gpus_per_rank <= %s"
            parameters.append(self.gpus + ROUNDING)
        if self.rooms is not None:
            condition, numbers = self.rooms.sql()
            where += f" AND {condition}"
            parameters.extend(numbers)
        if self.seconds is not None:
            short = "wall_time_minutes <= %s"
            parameters.append(max(NOT_GIVEN, int(self.seconds // 60)))
            given = f"wall_time_minutes > {NOT_GIVEN}"
            if self.known is None and self.too_long:
                short += f" AND ({given} OR app_id IS NULL OR NOT app_id {among()})"
                parameters.append(key_list(self.too_long))
            # That is in no index: it is looked at last.
            where += f" AND ({short} OR time_limit_minutes > 0 AND time_limit_minutes <= %s)"
            parameters.append(self.seconds / 60)
            if self.known is not None:
                where += f" AND ({given} OR app_id {among()})"
                parameters.append(key_list(self.known))
        return where, tuple(parameters)


NO_BOUNDS = Bounds()
