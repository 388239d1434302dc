"""Which nodes are suspected of making attempts fail, and which are not."""

from __future__ import annotations

import random

import pytest

from balsam import states
from balsam.launcher import health as health_module
from balsam.launcher.health import NodeHealth, verdict

NODES = [f"n{number}" for number in range(8)]


def run(
    health: NodeHealth,
    rates: dict[str, float],
    attempts: int,
    seed: int = 1,
    kind: str = "app",
    first: int = 0,
) -> None:
    dice = random.Random(seed)
    nodes = list(rates)
    for job in range(first, first + attempts):
        node = nodes[job % len(nodes)]
        health.record([node], dice.random() >= rates[node], kind, job, 1)


def test_a_node_where_everything_fails_is_suspected_and_named_with_its_attempts() -> None:
    health = NodeHealth(NODES)
    run(health, {**dict.fromkeys(NODES, 0.0), "n3": 1.0}, 8 * 20)
    [suspect] = health.suspects()
    assert suspect.node == "n3" and suspect.probability < 1e-6
    assert suspect.attempts == tuple((job, 1) for job in range(3, 160, 8))
    assert str(suspect) == (
        "20 of the latest 20 attempts failed on n3, and 0 % of such attempts elsewhere"
    )
    assert health.suspects() == []
    health.remove("n3")
    health.record(["n3"], False, "app", 1, 1)
    assert health.suspects() == []


def test_five_failures_suffice_if_the_others_are_well() -> None:
    health = NodeHealth(NODES)
    run(health, dict.fromkeys(NODES[1:], 0.0), 400)
    for job in range(1000, 1004):
        health.record(["n0"], False, "app", job, 1)
    assert health.suspects() == []
    health.record(["n0"], False, "app", 1004, 1)
    assert [suspect.node for suspect in health.suspects()] == ["n0"]


def test_a_node_that_turns_bad_late_is_found_soon() -> None:
    health = NodeHealth(NODES)
    run(health, dict.fromkeys(NODES, 0.01), 80_000)
    assert health.suspects() == []
    needed = 0
    while not (found := health.suspects()):
        health.record(["n5"], False, "app", 100_000 + needed, 1)
        needed += 1
        assert needed < 20
    assert found[0].node == "n5"


@pytest.mark.parametrize("rate", [0.0, 0.02, 0.3, 0.9, 1.0])
def test_healthy_nodes_are_not_suspected_at_any_rate_of_failures(rate: float) -> None:
    for seed in range(20):
        health = NodeHealth(NODES)
        dice = random.Random(seed)
        for job in range(1500):
            health.record([dice.choice(NODES)], dice.random() >= rate, "app", job, 1)
            assert health.suspects() == []


def test_one_job_that_fails_again_and_again_convicts_nobody() -> None:
    health = NodeHealth(NODES)
    run(health, dict.fromkeys(NODES, 0.0), 400)
    for attempt in range(60):
        health.record(["n0"], False, "app", 9999, attempt)
    assert health.suspects() == []


def test_a_program_that_fails_everywhere_convicts_no_node_that_got_much_of_it() -> None:
    health = NodeHealth(NODES)
    run(health, dict.fromkeys(NODES, 0.0), 400, kind="good")
    run(health, dict.fromkeys(NODES[1:], 1.0), 30, kind="bad", first=1000)
    run(health, {"n0": 1.0}, 40, kind="bad", first=2000)
    assert health.suspects() == []


def test_a_program_that_ran_nowhere_else_convicts_nobody() -> None:
    health = NodeHealth(NODES)
    run(health, dict.fromkeys(NODES, 0.0), 400, kind="good")
    run(health, {"n0": 1.0}, 60, kind="new", first=1000)
    assert health.suspects() == []


def test_failures_of_many_programs_add_up() -> None:
    health = NodeHealth(NODES)
    for kind in range(6):
        rates = dict.fromkeys(NODES[1:], 0.0)
        run(health, rates, 60, kind=f"app{kind}", first=1000 * kind)
        for job in range(2):
            health.record(["n0"], False, f"app{kind}", 1000 * kind + 500 + job, 1)
    [suspect] = health.suspects()
    assert suspect.node == "n0" and len(suspect.attempts) == 12


def test_the_last_node_stays() -> None:
    health = NodeHealth(["n0", "n1"])
    run(health, {"n0": 0.0, "n1": 1.0}, 60)
    assert [suspect.node for suspect in health.suspects()] == ["n1"]
    health.remove("n1")
    run(health, {"n0": 1.0}, 60)
    assert health.suspects() == []


def test_an_attempt_on_several_nodes_counts_on_each() -> None:
    health = NodeHealth(NODES)
    dice = random.Random(7)
    for job in range(400):
        pair = dice.sample(NODES, 2)
        health.record(pair, "n2" not in pair, "app", job, 1)
    suspects = health.suspects()
    assert suspects[0].node == "n2"
    health.remove("n2")
    assert health.suspects() == []


def test_only_what_a_node_can_cause_speaks_against_it() -> None:
    assert verdict(states.OK) is True and verdict(states.SIGNAL) is False
    for cause in (states.KILLED, states.BATCH_TIME_LIMIT, states.NODE_LOST, states.HOOK):
        assert verdict(cause) is None


def test_a_node_where_all_fails_before_anything_has_ended_elsewhere_is_dubious() -> None:
    health = NodeHealth(NODES)
    for job in range(4):
        health.record(["n0"], False, "app", job, 1)
        assert not health.is_dubious("n0")
    health.record(["n0"], False, "app", 4, 1)
    assert health.is_dubious("n0") and not health.is_dubious("n1")
    assert health.suspects() == []
    run(health, {"n1": 1.0}, 64, first=10)
    assert health.suspects() == []
    assert not health.is_dubious("n0"), "now there is something to compare it with"
    alone = NodeHealth(["n0"])
    run(alone, {"n0": 1.0}, 20)
    assert not alone.is_dubious("n0")


def test_jobs_that_take_all_nodes_make_none_of_them_dubious() -> None:
    """They would wait for it ever longer, and have failed on the others as well."""
    for number in (2, 3):
        health = NodeHealth(NODES[:number])
        for job in range(100):
            health.record(NODES[:number], False, "app", job, 1)
            assert not any(map(health.is_dubious, NODES[:number]))
            assert health.suspects() == []
    health = NodeHealth(NODES[:2])
    for job in range(5):
        health.record(NODES[:2], False, "wide", job, 1)
    for job in range(100, 104):
        health.record(NODES[:1], False, "narrow", job, 1)
        assert not health.is_dubious("n0")
    health.record(NODES[:1], False, "narrow", 104, 1)
    assert health.is_dubious("n0") and not health.is_dubious("n1")


def test_nodes_on_which_the_same_fails_are_compared_with_each_other() -> None:
    """Before, the first of them looked worse: there it was counted already."""
    health = NodeHealth(NODES)
    for job in range(100):
        health.record(["n0", "n1"], False, "app", job, 1)
        assert not health.is_dubious("n0") and not health.is_dubious("n1")
        assert health.suspects() == []


def test_no_node_is_dubious_any_more_once_it_has_been_compared() -> None:
    health = NodeHealth(NODES)
    run(health, {"n0": 1.0}, 300)
    for job in range(1000, 1005):
        assert health.is_dubious("n0")
        health.record(["n1"], job > 1002, "app", job, 1)
        assert health.suspects() == []
    assert not health.is_dubious("n0")
    run(health, {"n0": 1.0}, 10, first=300)
    assert not health.is_dubious("n0")
    # If it is convicted after all, all of that is still known.
    run(health, dict.fromkeys(NODES[1:], 0.0), 55, first=2000)
    [suspect] = health.suspects()
    assert {job for job, _ in suspect.attempts} == set(range(310))


def test_one_success_is_enough_not_to_be_dubious() -> None:
    health = NodeHealth(NODES)
    run(health, {"n0": 1.0}, 20)
    health.record(["n0"], True, "app", 20, 1)
    assert not health.is_dubious("n0")


def test_all_that_failed_before_there_was_a_measure_is_named() -> None:
    health = NodeHealth(NODES)
    run(health, {"n0": 1.0}, 1000)
    assert health.suspects() == []
    run(health, dict.fromkeys(NODES[1:], 0.0), 100, first=1000)
    [suspect] = health.suspects()
    assert {job for job, _ in suspect.attempts} == set(range(1000))
    assert str(suspect).startswith("64 of the latest 64 attempts failed on n0, ")


def test_what_is_kept_of_failures_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_module, "MOST_OLDER", 100)
    health = NodeHealth(NODES)
    run(health, {"n0": 1.0}, 1000)
    run(health, {"n1": 1.0}, 1000, kind="other", first=1000)
    assert health._number_older == sum(map(len, health._older.values())) == 100
    health.record(["n0"], True, "app", 5000, 1)
    health.remove("n1")
    assert health._number_older == 0 and not health._older


def test_kinds_of_which_no_attempt_is_among_the_latest_are_forgotten() -> None:
    """As where each job has a program of its own."""
    health = NodeHealth(["n0", "n1"], window=4)
    for job in range(1000):
        health.record(["n0"], job % 3 > 0, f"/case/{job}/run.sh", job, 1)
    assert len(health._ended) == 4 and len(health._failed) <= 4
