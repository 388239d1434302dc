"""The search for the nodes that let mpirun fail, by a clock of its own and without any MPI."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from balsam.launcher.ensemble import crews as module
from balsam.launcher.ensemble import search
from balsam.launcher.ensemble.crews import Crews
from balsam.launcher.ensemble.search import Pace, Wave
from balsam.platform.process import RunSpec

SILENCE = 60.0


class FakeCrew:
    """An mpirun that starts in its time, or hangs, or fails, by the nodes that it is to reach."""

    moment = 0.0
    hanging: frozenset[str] = frozenset()
    failing: frozenset[str] = frozenset()
    #: They hang, and others say that they can not start without them.
    broken_nodes: frozenset[str] = frozenset()
    made = 0
    pid = 0

    def __init__(self, nodes: Sequence[str], spec: RunSpec, wave: Wave, tries: int) -> None:
        self.nodes = tuple(nodes)
        self.wave = wave
        self.tries = tries
        self.began = FakeCrew.moment
        self.heard = 0.0
        self.verdict = ""
        self.broken = 0.0
        self.open = True
        self.pending = 0
        FakeCrew.made += 1

    @property
    def up(self) -> bool:
        """Whether it has started."""
        if not {*self.nodes}.isdisjoint(self.hanging | self.failing):
            return False
        return FakeCrew.moment - self.began >= seconds_of(len(self.nodes))

    def over(self) -> bool:
        """Whether it has ended."""
        fails = not self.failing.isdisjoint(self.nodes)
        return bool(self.verdict) or (fails and FakeCrew.moment - self.began > 0.1)

    def gave_up(self) -> bool:
        """Whether a rank has said that it could not start."""
        return not self.broken_nodes.isdisjoint(self.nodes)

    def kill(self, why: str = "") -> None:
        """End it."""
        self.verdict = why or "killed"

    def tell(self, data: bytes) -> None:
        """Nobody hears."""

    def shut(self) -> None:
        """There is nothing to close."""


def seconds_of(size: int) -> float:
    """What an mpirun over so many nodes takes to start."""
    return 0.4 + size / 1000


class Site:
    """All nodes have been up when the mpirun over them dies, or ``began`` is False."""

    def __init__(
        self, size: int, orphan: float = search.ORPHAN_SECONDS, *, began: bool = True
    ) -> None:
        self.nodes = [f"n{number}" for number in range(size)]
        config: dict[str, Any] = {"beat": 5.0, "silence": SILENCE, "orphan": orphan}
        self.crews = Crews(lambda nodes: RunSpec(["mpirun"], "/", {}, "log"), config, 120.0)
        self.up: dict[str, float] = {}
        self.given_up: dict[str, float] = {}
        self.most_starting = 0
        self.crews.launch(self.nodes, wave=Wave(whole=True))
        self.began = FakeCrew.moment
        if not began:
            return
        FakeCrew.moment += seconds_of(size)
        [crew] = self.crews.living
        self.crews.heard(crew, FakeCrew.moment)
        FakeCrew.moment += 1000.0
        self.began = FakeCrew.moment
        self.crews.remove(crew)
        self.crews.regroup(crew, self.nodes, [], True, FakeCrew.moment)

    def go(self, until: float) -> None:
        """Search for so many seconds."""
        while FakeCrew.moment - self.began < until:
            FakeCrew.moment += 0.1
            moment = FakeCrew.moment
            for crew in self.crews.living:
                if crew.up:  # type: ignore[attr-defined]
                    self.crews.heard(crew, moment)
                    for name in crew.nodes:
                        self.up.setdefault(name, moment - self.began)
            for crew in self.crews.watch(moment):
                self.crews.remove(crew)
                was_up = bool(crew.heard)
                for name in self.crews.regroup(crew, list(crew.nodes), [], was_up, moment):
                    self.given_up[name] = moment - self.began
            self.crews.launch_due(moment, lambda name: False)
            starting = sum(not crew.heard for crew in self.crews.living)
            self.most_starting = max(self.most_starting, starting)


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No mpirun is real here."""
    monkeypatch.setattr(module, "Crew", FakeCrew)
    monkeypatch.setattr(FakeCrew, "moment", 1.0)
    monkeypatch.setattr(FakeCrew, "made", 0)
    yield
    FakeCrew.hanging = FakeCrew.failing = FakeCrew.broken_nodes = frozenset()


@pytest.mark.parametrize("size", [2, 4, 9, 16, 17, 100, 1000, 4096, 8192])
def test_all_but_the_dead_node_are_found_before_their_keepers_end(size: int) -> None:
    site = Site(size)
    dead = site.nodes[size // 3]
    FakeCrew.hanging = frozenset([dead])
    site.go(search.ORPHAN_SECONDS)
    assert {*site.up} == {*site.nodes} - {dead}
    assert max(site.up.values()) < search.ORPHAN_SECONDS
    assert FakeCrew.made < 60
    site.go(200.0)
    assert [*site.given_up] == [dead]


def test_a_dead_cabinet_and_some_single_nodes() -> None:
    site = Site(4096)
    dead = {*site.nodes[1024:1088], "n7", "n600", "n3000"}
    FakeCrew.hanging = frozenset(dead)
    site.go(search.ORPHAN_SECONDS)
    assert {*site.up} == {*site.nodes} - dead
    assert site.most_starting <= 64
    site.go(600.0)
    assert {*site.given_up} == dead


def test_a_dead_node_in_each_of_the_first_groups() -> None:
    site = Site(64)
    dead = {*site.nodes[::8]}
    FakeCrew.hanging = frozenset(dead)
    site.go(search.ORPHAN_SECONDS)
    assert {*site.up} == {*site.nodes} - dead


def test_a_node_that_is_dead_from_the_beginning() -> None:
    site = Site(100, began=False)
    FakeCrew.hanging = frozenset(["n50"])
    site.go(40.0)
    assert {*site.up} == {*site.nodes} - {"n50"}
    site.go(100.0)
    assert [*site.given_up] == ["n50"]


def test_a_short_lease() -> None:
    site = Site(4, search.orphan_seconds(20.0))
    FakeCrew.hanging = frozenset(["n2"])
    site.go(3.0)
    assert {*site.up} == {"n0", "n1", "n3"}
    assert max(site.up.values()) < 1.0


def test_a_node_that_fails_at_once_is_tried_again_for_some_seconds() -> None:
    site = Site(4)
    FakeCrew.failing = frozenset(["n1", "n2"])
    site.go(3.0)
    assert {*site.up} == {"n0", "n3"}
    assert not site.given_up
    FakeCrew.failing = frozenset(["n1"])
    site.go(30.0)
    assert "n2" in site.up
    assert [*site.given_up] == ["n1"]


def test_a_node_is_searched_until_it_was_tried_alone_and_often() -> None:
    site = Site(32)
    FakeCrew.hanging = frozenset(["n1"])
    site.go(1.0)
    assert {"n0", "n1", "n2", "n3"} == site.crews.searched()
    site.go(6.0)
    assert site.crews.searched() == {"n1"}
    site.go(25.0)
    assert not site.crews.searched()


def test_a_first_start_that_can_not_be_any_more_is_not_waited_for() -> None:
    config: dict[str, Any] = {"beat": 5.0, "silence": SILENCE, "orphan": 45.0}
    crews = Crews(lambda nodes: RunSpec(["mpirun"], "/", {}, "log"), config, 120.0)
    crews.launch(["n0", "n1"])
    [crew] = crews.living
    FakeCrew.hanging = frozenset(["n1"])
    assert not crews.watch(FakeCrew.moment + 60.0) and not crew.verdict
    FakeCrew.broken_nodes = frozenset(["n1"])
    assert not crews.watch(FakeCrew.moment + 61.0) and not crew.verdict
    crews.watch(FakeCrew.moment + 67.0)
    assert "could not start" in crew.verdict


def test_named_nodes_are_apart_from_the_rest() -> None:
    site = Site(100)
    crew = FakeCrew(site.nodes, RunSpec([], "/", {}, ""), Wave(), 0)
    site.crews._again = []
    bad = ["n3", "n4"]
    good = [name for name in site.nodes if name not in bad]
    site.crews.regroup(crew, good, bad, True, FakeCrew.moment)  # type: ignore[arg-type]
    assert [entry.nodes for entry in site.crews._again] == [tuple(good), ("n3",), ("n4",)]


def test_small_groups_do_not_hurry_a_large_one() -> None:
    pace, wave = Pace(120.0, 45.0), Wave()
    assert pace.allowed(wave, 1, 0) == 120.0
    assert pace.allowed(Wave(whole=True), 1000, 0) == 35.0
    pace.reported(Wave(), 4096, 10.0)
    pace.reported(wave, 1, 0.5)
    assert pace.allowed(wave, 2, 0) == 4.0
    assert pace.allowed(wave, 2, 1) == 8.0
    assert pace.allowed(wave, 4000, 0) == 29.0
    pace.reported(wave, 3000, 5.0)
    assert pace.allowed(wave, 4000, 0) == 13.0
    assert pace.allowed(Wave(), 1, 9) == 116.0


def test_splitting() -> None:
    assert search.split(["a"]) == [("a",)]
    assert len(search.split("abcdefghijklmnop")) == 16
    groups = search.split([str(number) for number in range(101)])
    assert sorted(map(len, groups)) == [12, 12, 12, 13, 13, 13, 13, 13]
    assert [name for group in groups for name in group] == [str(n) for n in range(101)]


def test_times_follow_the_lease() -> None:
    assert (search.orphan_seconds(120), search.beat_seconds(120)) == (45.0, 5.0)
    assert (search.orphan_seconds(20), search.beat_seconds(20)) == (10.0, 1.25)
