"""Which nodes make attempts fail: statistics on how attempts ended, node by node.

A node is suspected if so many jobs failed there that, did they fail as often as on the other nodes,
it would be next to impossible. Each kind of work (an application) is compared with itself, so that
a program that fails everywhere convicts no node, and a job counts once, however often it was tried.
Pure: no clock, no record, no processes.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Hashable, Iterable
from dataclasses import dataclass
from math import exp, lgamma, log

from balsam import states

#: The least number of distinct jobs that must have failed on a node.
LEAST_FAILURES = 5
#: How improbable it has to be that a node without fault is convicted, among all of them.
IMPROBABLE = 1e-6
#: Only so many of the latest attempts of each node count: a node may turn bad late, or recover.
WINDOW = 64
#: So many failures that are older are kept for as long as there is nothing to compare them with.
MOST_OLDER = 100_000
#: A kind of work that failed there as one may expect of it takes no part in a conviction.
_REMARKABLE = 0.01
#: Ends that say something against a node; of the others, only success speaks for it.
_BAD = frozenset(
    (
        states.EXIT,
        states.SIGNAL,
        states.OOM,
        states.JOB_TIME_LIMIT,
        states.PROGRAM_MISSING,
        states.MPI_LAUNCH_FAILED,
        states.STAGING,
    )
)


def verdict(cause: str) -> bool | None:
    """Whether an attempt that ended for ``cause`` speaks for its node; None if neither way."""
    return True if cause == states.OK else False if cause in _BAD else None


@dataclass(frozen=True)
class Suspect:
    """A node, and what speaks against it.

    ``attempts`` are the (job, attempt) that failed there; ``failed`` of ``ended`` is how many
    jobs, ``elsewhere`` the share of such attempts that fails on other nodes, ``probability`` that
    of all this on a node like the others.
    """

    node: str
    attempts: tuple[tuple[int, int], ...]
    failed: int
    ended: int
    elsewhere: float
    probability: float

    def __str__(self) -> str:
        return (
            f"{self.failed} of the latest {self.ended} attempts failed on {self.node}, "
            f"and {100 * self.elsewhere:.2g} % of such attempts elsewhere"
        )


@dataclass(frozen=True)
class _Failure:
    kind: Hashable
    job: int
    attempt: int
    #: Whether it says something against the node: not of a job that has failed on a suspect.
    counts: bool = True
    #: Whether it ran on all nodes, and so says nothing of one against another.
    everywhere: bool = False


class NodeHealth:
    """How attempts ended on the nodes of one allocation, and which node that speaks against."""

    def __init__(
        self,
        nodes: Collection[str],
        *,
        least_failures: int = LEAST_FAILURES,
        improbable: float = IMPROBABLE,
        window: int = WINDOW,
    ) -> None:
        self._least = least_failures
        self._improbable = improbable / max(1, len(nodes))
        self._window = window
        #: Node -> its latest attempts: the kind of one that ended well, or the failure.
        self._latest: dict[str, deque[Hashable | _Failure]] = {node: deque() for node in nodes}
        #: Over all nodes, by kind: attempts that count, and failures among them.
        self._ended: Counter[Hashable] = Counter()
        self._failed: Counter[Hashable] = Counter()
        self._changed: set[str] = set()
        #: Nodes where all failed before much had ended elsewhere to compare that with: of what
        #: kinds that is.
        self._dubious: dict[str, set[Hashable]] = {}
        #: Node of these -> failures before the latest.
        self._older: dict[str, list[_Failure]] = {}
        self._number_older = 0

    def record(
        self,
        nodes: Iterable[str],
        ok: bool | None,
        kind: Hashable,
        job: int,
        attempt: int,
        *,
        counts: bool = True,
    ) -> None:
        """An attempt on ``nodes`` ended well, or failed; None (see :func:`verdict`) is neither.

        ``kind`` is what is compared with itself: the number of its application, or its command.
        A failure that does not count is one that a suspect is to be excused for, and no more.
        """
        if ok is None:
            return
        known = [node for node in nodes if node in self._latest]
        everywhere = len(known) == len(self._latest)
        end = kind if ok else _Failure(kind, job, attempt, counts, everywhere)
        for node in known:
            self._add(node, end)
        if not ok:
            # Not before it counts on all of them: each is there for the others to compare with.
            for node in known:
                self._changed.add(node)
                self._note_dubious(node)
        for node, kinds in self._dubious.items():
            if kind in kinds:
                self._changed.add(node)  # by now there may be enough to judge it by

    def remove(self, node: str) -> None:
        """Forget a node: it was set aside or lost, and is no measure for the others."""
        for end in self._latest.pop(node, ()):
            self._count(end, -1)
        self._forget_older(node)
        self._changed.discard(node)

    def add(self, node: str) -> None:
        """Judge a node again that was removed, by what comes."""
        self._latest.setdefault(node, deque())

    def is_dubious(self, node: str) -> bool:
        """Whether a node had better wait until more is known to compare it with.

        Jobs fail there, and none ends well: on the others, they take longer than to fail.
        """
        return node in self._dubious and not self._is_compared(self._failures(node))

    def suspects(self) -> list[Suspect]:
        """Nodes convicted by what was recorded since this was last asked, worst first.

        While one is there, :meth:`remove` it before asking about the others: it spoils the
        measure. The last node is never suspected.
        """
        changed, self._changed = self._changed, set()
        if len(self._latest) < 2:
            return []
        found = [suspect for node in changed if (suspect := self._judge(node))]
        return sorted(found, key=lambda suspect: (suspect.probability, suspect.node))

    def _note_dubious(self, node: str) -> None:
        failures = self._failures(node)
        if len(failures) < len(self._latest[node]) or self._is_compared(failures):
            return
        counted = [failure for failure in failures if failure.counts]
        jobs = {failure.job for failure in counted if not failure.everywhere}
        if len(jobs) >= self._least:
            self._dubious[node] = {failure.kind for failure in counted}

    def _failures(self, node: str) -> list[_Failure]:
        return [end for end in self._latest[node] if isinstance(end, _Failure)]

    def _is_compared(self, failures: Iterable[_Failure]) -> bool:
        """Whether enough has ended elsewhere of a kind of which these failed on one node."""
        counted = [failure for failure in failures if failure.counts]
        here = Counter(failure.kind for failure in counted)
        kinds = {failure.kind for failure in counted if not failure.everywhere}
        return any(self._ended[kind] - here[kind] >= self._least for kind in kinds)

    def _add(self, node: str, end: Hashable | _Failure) -> None:
        """An attempt is the latest of a node."""
        latest = self._latest[node]
        if len(latest) >= self._window:
            self._drop(node, latest.popleft())
        if not isinstance(end, _Failure):
            self._forget_older(node)
        latest.append(end)
        self._count(end, 1)

    def _drop(self, node: str, end: Hashable | _Failure) -> None:
        """An attempt is not one of the latest any more."""
        self._count(end, -1)
        if isinstance(end, _Failure) and node in self._dubious and self._number_older < MOST_OLDER:
            self._older.setdefault(node, []).append(end)
            self._number_older += 1

    def _forget_older(self, node: str) -> None:
        self._dubious.pop(node, None)
        self._number_older -= len(self._older.pop(node, ()))

    def _count(self, end: Hashable | _Failure, by: int) -> None:
        kind = end.kind if isinstance(end, _Failure) else end
        if isinstance(end, _Failure) and not end.counts:
            return
        counters = (self._ended, self._failed) if isinstance(end, _Failure) else (self._ended,)
        for counter in counters:
            counter[kind] += by
            if not counter[kind]:
                del counter[kind]

    def _judge(self, node: str) -> Suspect | None:
        latest = self._latest[node]
        every = self._failures(node)
        failures = [failure for failure in every if failure.counts]
        if len({failure.job for failure in failures}) < self._least:
            return None
        good = Counter(end for end in latest if not isinstance(end, _Failure))
        chances: list[float] = []
        attempts: list[tuple[int, int]] = []
        jobs: set[int] = set()
        failed = ended = others_ended = others_failed = most = 0
        for kind in {failure.kind for failure in failures} | set(good):
            here = [failure for failure in failures if failure.kind == kind]
            elsewhere = self._ended[kind] - good[kind] - len(here)
            if elsewhere < self._least:
                continue  # nothing to compare with
            most = max(most, elsewhere)
            bad = self._failed[kind] - len(here)
            distinct = len({failure.job for failure in here})
            chance = _tail(distinct, distinct + good[kind], bad, elsewhere)
            chances.append(chance)
            if here and chance < _REMARKABLE:
                attempts += [(failure.job, failure.attempt) for failure in here]
                jobs |= {failure.job for failure in here}
                failed += len(here)
                ended += len(here) + good[kind]
                others_ended += elsewhere
                others_failed += bad
        probability = _together(chances)
        if len(jobs) < self._least or probability >= self._improbable:
            if most >= self._window:
                self._forget_older(node)
            return None
        again = [failure for failure in every if not failure.counts]
        again += self._older.get(node, ())
        attempts += [(failure.job, failure.attempt) for failure in again]
        share = others_failed / others_ended
        return Suspect(node, tuple(attempts), failed, ended, share, probability)


def _tail(failed: int, ended: int, others_failed: int, others_ended: int) -> float:
    """The chance that at least ``failed`` of ``ended`` fail, as far as the others tell the rate.

    The upper tail of the beta-binomial distribution whose rate is Beta(others_failed + 1,
    others_ended - others_failed + 1): what Laplace's rule of succession expects.
    """
    a, b = others_failed + 1, others_ended - others_failed + 1
    rest = _log_beta(a, b)
    total = sum(
        exp(
            lgamma(ended + 1) - lgamma(number + 1) - lgamma(ended - number + 1)
            + _log_beta(number + a, ended - number + b) - rest
        )
        for number in range(failed, ended + 1)
    )  # fmt: skip
    return min(1.0, total)


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def _together(chances: Collection[float]) -> float:
    """The chance of independent results as improbable as these: Fisher's method.

    P(product of k uniform numbers <= q) = q * sum over j < k of (-ln q)^j / j!
    """
    if not chances:
        return 1.0
    logs = -sum(log(max(chance, 1e-300)) for chance in chances)
    term = total = 1.0
    for number in range(1, len(chances)):
        term *= logs / number
        total += term
    return min(1.0, exp(-logs) * total)
