"""What a worker counts: written by each worker as ``counters/worker-N.json``, read and shown by the observer."""

from __future__ import annotations

import bisect
from collections.abc import Iterable

import msgspec

ANALYSIS_SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
"""Upper bounds of the buckets in which the times of analyses are counted; one more bucket takes what is above."""


MEASURES = ("waited", "downgraded", "shortened", "flagged", "observed", "without_store")
"""What limits may make of a request that they let pass, as ``Admissions`` counts it."""

REFUSED, UNAVAILABLE, DOWNGRADED, SHORTENED, FLAGGED, OBSERVED = OUTCOMES = (
    "refused",
    "unavailable",
    "downgraded",
    "shortened",
    "flagged",
    "observed",
)
"""What one budget may make of a request, as ``Admissions.by_budget`` counts it; ``unavailable``: nobody could read it."""

OF_KEYS = "key"
"""Stands for the budgets of all virtual keys, which are as many as there are keys."""


class Times(msgspec.Struct):
    """A histogram: in ``counts`` how many times fell into each bucket, and their sum in seconds."""

    counts: list[int] = msgspec.field(default_factory=lambda: [0] * (len(ANALYSIS_SECONDS) + 1))
    sum: float = 0.0

    def add(self, seconds: float) -> None:
        """Counts one."""
        self.counts[bisect.bisect_left(ANALYSIS_SECONDS, seconds)] += 1
        self.sum += seconds

    def add_all(self, others: Times) -> None:
        """Adds what another histogram holds, as far as it has the same buckets."""
        if len(others.counts) == len(self.counts):
            self.counts = [mine + theirs for mine, theirs in zip(self.counts, others.counts, strict=True)]
            self.sum += others.sum

    def cumulative(self) -> list[tuple[str, float]]:
        """The buckets as Prometheus wants them: upper bound, and how many are not above it."""
        bounds: Iterable[str] = (*map(str, ANALYSIS_SECONDS), "+Inf")
        return [(bound, sum(self.counts[: place + 1])) for place, bound in enumerate(bounds)]


class Admissions(msgspec.Struct):
    """Requests by what limits made of them, as totals; ``seconds`` is the time that admission took, waiting included.

    ``waited`` waited for a limit to reset, ``downgraded`` went to a cheaper tier, ``shortened`` had their answer's limit
    lowered, ``flagged`` were beyond a cap that allows it, ``observed`` beyond one that only looks, ``without_store`` were
    admitted while the store did not answer. ``by_budget`` says which budget refused or changed how many: by its name in the
    configuration, and by outcome.
    """

    admitted: int = 0
    waited: int = 0
    downgraded: int = 0
    shortened: int = 0
    flagged: int = 0
    observed: int = 0
    without_store: int = 0
    seconds: float = 0.0
    by_budget: dict[str, dict[str, int]] = {}

    def count(self, budget: str, outcome: str, requests: int = 1) -> None:
        """Counts what a budget made of so many requests."""
        label = OF_KEYS if budget.startswith(f"{OF_KEYS}:") else budget
        outcomes = self.by_budget.setdefault(label, {})
        outcomes[outcome] = outcomes.get(outcome, 0) + requests

    def add_all(self, others: Admissions) -> None:
        """Adds what others counted."""
        for name in ("admitted", "seconds", *MEASURES):
            setattr(self, name, getattr(self, name) + getattr(others, name))
        for budget, outcomes in others.by_budget.items():
            for outcome, requests in outcomes.items():
                self.count(budget, outcome, requests)


class WorkerFigures(msgspec.Struct):
    """Totals since the process ``pid`` started, and below them figures of now.

    ``decision_seconds_sum`` is time spent reading, analysing and deciding. ``refused`` counts by an error's code,
    ``failed`` conversations that broke off, ``attempt_leg`` attempts that the worker took part in, ``streams`` open
    conversations. ``analysis`` has the times of analysing, and ``analysis_failures`` counts by why one gave no answer.
    ``admissions`` is empty while nothing is limited.
    """

    pid: int = 0
    decided: int = 0
    refused: dict[str, int] = {}
    failed: int = 0
    attempt_leg: int = 0
    decision_seconds_sum: float = 0.0
    analysis: Times = msgspec.field(default_factory=Times)
    analysis_failures: dict[str, int] = {}
    admissions: Admissions = msgspec.field(default_factory=Admissions)
    streams: int = 0
    in_flight_bytes: int = 0
    rss_bytes: int = 0
