"""Which nodes are taken for lost where nothing is started but by mpirun."""

from __future__ import annotations

import pytest

from balsam.errors import LaunchError
from balsam.launcher.ensemble.protocol import Mislaid, NodeLost, Started, Struck
from balsam.launcher.onlookers import Onlookers
from tests.tools.hands import FakeHands

NODES = ("early", "late", "never", "fine")


def lost(name: str) -> NodeLost:
    return NodeLost(name, "it is on fire", ())


def test_only_a_node_that_has_answered_can_be_lost() -> None:
    """Of another one nobody knows more than that no worker could be started there."""
    hands = FakeHands(["early", "fine"])
    onlookers = Onlookers(hands, NODES)
    assert onlookers.hear() == []
    hands.ready_nodes |= {"late"}
    assert onlookers.hear() == []
    hands.ready_nodes = frozenset(["fine"])
    assert onlookers.hear() == [] and onlookers.ready_nodes == {"fine", "never"}
    hands.tell(*map(lost, ("early", "late", "never")))
    assert onlookers.hear() == [lost("early"), lost("late")]
    assert onlookers.hear() == [], "once"


def test_a_node_is_lost_only_as_long_as_another_answers() -> None:
    """They may all have ended with their mpirun, which says nothing of nodes."""
    hands = FakeHands(NODES)
    onlookers = Onlookers(hands, NODES)
    onlookers.hear()
    hands.ready_nodes = frozenset()
    hands.tell(lost("early"))
    assert onlookers.hear() == [] and onlookers.ready_nodes == {*NODES}
    hands.ready_nodes = frozenset(["fine"])
    assert onlookers.hear() == [lost("early")]


@pytest.mark.parametrize("before", [True, False])
def test_where_all_are_lost_it_is_the_workers_that_fail(before: bool) -> None:
    hands = FakeHands(NODES)
    onlookers = Onlookers(hands, NODES)
    if before:
        onlookers.hear()
        hands.ready_nodes = frozenset()
        hands.tell(*map(lost, NODES))
    else:
        hands.hopeless = "it is on fire"
    with pytest.raises(LaunchError, match=r"it is on fire\. Nobody looks at what ranks"):
        onlookers.hear()
    assert hands.grace == 0.0 and onlookers.ready_nodes == {*NODES}
    # Real ones tell of each node after that.
    assert onlookers.hear() == [] and onlookers.deadline is None


@pytest.mark.parametrize(("names", "grace"), [(NODES, 2.0), ((), 0.0)])
def test_those_that_never_answered_are_not_waited_for(names: tuple[str, ...], grace: float) -> None:
    hands = FakeHands(names)
    onlookers = Onlookers(hands, NODES)
    onlookers.hear()
    onlookers.close(2.0)
    assert hands.grace == grace


def test_what_is_heard_is_of_ranks() -> None:
    hands = FakeHands(["n"])
    told = Mislaid("1:1", "It has wandered about."), Struck("1:1", "n", oom=True)
    hands.tell(
        told[0], Started("2:1", 3, 4.0), told[1],
        NodeLost("n", "its keeper is gone", (), gone=False),
    )  # fmt: skip
    assert Onlookers(hands, ["n"]).hear() == list(told)
