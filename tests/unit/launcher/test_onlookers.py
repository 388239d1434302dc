"""Which nodes are taken for lost where nothing is started but by mpirun."""

from __future__ import annotations

import pytest

from balsam.launcher.ensemble.protocol import Event, Mislaid, NodeLost, Started, Struck
from balsam.launcher.onlookers import Onlookers
from tests.tools.hands import FakeHands


def hearing(monkeypatch: pytest.MonkeyPatch, hands: FakeHands, *events: Event) -> None:
    monkeypatch.setattr(hands, "poll", lambda: list(events))


def test_only_a_node_that_has_answered_can_be_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of another one nobody knows more than that no worker could be started there."""
    hands = FakeHands(["early"])
    onlookers = Onlookers(hands)
    hands.ready_nodes = frozenset(["early", "late"])
    assert onlookers.hear() == []
    hands.ready_nodes = frozenset()
    lost = [NodeLost(name, "it is on fire", ()) for name in ("early", "late", "never")]
    hearing(monkeypatch, hands, *lost)
    assert onlookers.hear() == lost[:2]


def test_what_is_heard_is_of_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    hands = FakeHands(["n"])
    told = Mislaid("1:1", "It has wandered about."), Struck("1:1", "n", oom=True)
    hearing(
        monkeypatch, hands, told[0], Started("2:1", 3, 4.0), told[1],
        NodeLost("n", "its keeper is gone", (), gone=False),
    )  # fmt: skip
    assert Onlookers(hands).hear() == list(told)
