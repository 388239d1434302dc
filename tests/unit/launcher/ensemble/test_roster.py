"""What the launcher believes of a node, and for how long."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from balsam.launcher.ensemble.protocol import NodeLost
from balsam.launcher.ensemble.roster import FENCE_MARGIN_SECONDS, Roster

CREW: Any = SimpleNamespace()


@pytest.mark.parametrize("lives", [True, False])
def test_a_node_is_lost_silently_unless_it_says_that_it_lives(lives: bool) -> None:
    roster = Roster(["n0", "n1"], 10.0)
    node = roster.nodes["n1"]
    roster.greeted(CREW, node, "keeper", 0)
    roster.assign("1:1", "n1")
    now = time.monotonic()
    roster.silent(CREW, node, now)
    if lives:
        roster.unusable(node, "no memory")
    roster.look(now + 10.0, set)
    assert not roster.events, "its keeper may still end its tasks"
    roster.look(now + 10.0 + FENCE_MARGIN_SECONDS, set)
    assert roster.events == [NodeLost("n1", node.why, ("1:1",), gone=True, silent=not lives)]


def test_a_node_that_is_heard_again_was_silent_and_is_not() -> None:
    roster = Roster(["n0"], 10.0)
    node = roster.nodes["n0"]
    roster.greeted(CREW, node, "keeper", 0)
    roster.silent(CREW, node, time.monotonic())
    assert node.silent and not roster.ready
    roster.heard(CREW, node)
    assert not node.silent and roster.ready == {"n0"} and not roster.events
