"""Offers say the same as the launcher that made them, and survive being written down."""

from __future__ import annotations

import contextlib
import json
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.core.offer import SERIAL, Offer
from balsam.errors import Unsatisfiable
from balsam.launcher import options
from balsam.launcher.node_pool import NodePool, Request
from balsam.platform.shape import uniform

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
small = st.integers(0, 5)
requests = st.builds(
    Request,
    num_nodes=st.integers(1, 3),
    ranks_per_node=st.integers(1, 6),
    gpus_per_rank=st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 1.0, 2.0]),
)
offers = st.builds(
    Offer,
    nodes=small,
    cores_per_node=small,
    gpus_per_node=small,
    max_ranks_per_node=small,
    wf_filter=st.text(max_size=5),
    job_mode=st.sampled_from(["auto", "mpi", SERIAL]),
    tags=st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3)), max_size=2).map(tuple),
    batch_id=st.text(max_size=5),
    node_names=st.sampled_from(["", "n[1-3]"]),
    ends=st.none() | st.integers(0, 9999).map(lambda minutes: NOW + timedelta(minutes=minutes)),
)


@given(offers)
def test_an_offer_survives_json(offer: Offer) -> None:
    assert Offer.from_dict(json.loads(json.dumps(offer.to_dict()))) == offer


def test_what_is_not_known_here_is_left_out() -> None:
    assert Offer.from_dict({}) == Offer()
    assert Offer.from_dict({"nodes": 2, "tape_drives": 1}) == Offer(nodes=2)


@given(requests, small, small)
def test_an_offer_lacks_what_the_launcher_refuses(
    request: Request, gpus: int, max_ranks: int
) -> None:
    refused = True
    with contextlib.suppress(Unsatisfiable):
        NodePool(("n",), uniform(4, gpus=tuple(map(str, range(gpus)))), max_ranks).check(request)
        refused = False
    lack = Offer(1, 4, gpus, max_ranks).lacks(request)
    assert (lack is not None) == refused
    if lack:
        assert lack.wanted > lack.there and str(lack.wanted) in lack.words


def test_who_said_nothing_lacks_nothing() -> None:
    assert Offer().lacks(Request(num_nodes=99, gpus_per_rank=9)) is None


@pytest.mark.parametrize(
    ("pattern", "workflow", "covered"),
    [
        ("", "", True),
        ("", "any", True),
        ("w", "w", True),
        ("w", "w2", False),
        ("w*", "w2", True),
        ("w*", "v", False),
        ("W*", "w2", False),
    ],
)
def test_workflows(pattern: str, workflow: str, covered: bool) -> None:
    assert Offer(wf_filter=pattern).covers(workflow) is covered


def test_serial_launchers_take_jobs_of_one_rank() -> None:
    assert options.SERIAL == SERIAL
    serial, auto = Offer(job_mode=SERIAL), Offer(job_mode=options.AUTO)
    assert serial.takes(Request()) and auto.takes(Request(ranks_per_node=2))
    assert not serial.takes(Request(ranks_per_node=2)) and not serial.takes(Request(num_nodes=2))


def test_time_left() -> None:
    assert Offer().seconds_left(NOW) is None
    assert Offer(ends=NOW + timedelta(minutes=2)).seconds_left(NOW) == 120
    assert Offer(ends=NOW - timedelta(minutes=2)).seconds_left(NOW) == 0
