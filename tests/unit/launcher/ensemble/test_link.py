"""Messages arrive once and in order, however often what carries them breaks."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from balsam.launcher.ensemble.link import Link

STEPS = st.lists(st.sampled_from(["say", "answer", "to", "from", "break"]), max_size=60)


class Wire:
    """Two ends, and the packets under way, which a broken connection loses."""

    def __init__(self) -> None:
        self.ends = Link("k"), Link("k")
        self.got: tuple[list[int], list[int]] = ([], [])
        self.under_way: tuple[list[list[object]], list[list[object]]] = ([], [])
        self.connect()

    def connect(self) -> None:
        for packets in self.under_way:
            packets.clear()
        self.ends[0].resume(self.ends[1].got)
        self.ends[1].resume(self.ends[0].got)

    def carry(self, sender: int) -> None:
        """Deliver what is under way but the newest packet, which a break may still lose."""
        packet = self.ends[sender].packet()
        packets = self.under_way[sender]
        if packet:
            packets.append(packet)
        while len(packets) > (1 if packet else 0):
            self.got[1 - sender].extend(self.ends[1 - sender].receive(packets.pop(0)))


@settings(deadline=None)
@given(STEPS)
def test_everything_arrives_once_and_in_order(steps: list[str]) -> None:
    wire, said = Wire(), ([], [])  # type: tuple[Wire, tuple[list[int], list[int]]]
    for number, step in enumerate(steps):
        if step in ("say", "answer"):
            end = int(step == "answer")
            wire.ends[end].send(number)
            said[end].append(number)
        elif step == "break":
            wire.connect()
        else:
            wire.carry(int(step == "from"))
    wire.connect()
    for _ in range(4):
        wire.carry(0)
        wire.carry(1)
    assert wire.got == (said[1], said[0])
    assert [len(end) for end in wire.ends] == [0, 0]
    assert [end.packet() for end in wire.ends] == [None, None]


def test_what_was_meant_for_another_keeper_is_ignored() -> None:
    sender, receiver = Link("old"), Link("new")
    sender.send("start")
    packet = sender.packet()
    assert packet is not None
    assert receiver.receive(packet) == []
    assert receiver.got == 0


def test_a_gap_is_not_jumped_over() -> None:
    sender, receiver = Link(), Link()
    sender.send(1)
    sender.packet()
    sender.send(2)
    packet = sender.packet()
    assert packet is not None
    assert receiver.receive(packet) == []
    sender.resume(receiver.got)
    assert receiver.receive(sender.packet() or []) == [1, 2]


def test_an_acknowledgement_goes_alone_but_is_not_acknowledged() -> None:
    sender, receiver = Link(), Link()
    sender.send(1)
    receiver.receive(sender.packet() or [])
    answer = receiver.packet()
    assert answer == ["", 1, 1, []]
    assert sender.receive(answer) == []
    assert sender.packet() is None
    assert len(sender) == 0
