"""Times as a histogram: what a worker counts, what the observer adds up, what Prometheus reads."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.telemetry.worker_figures import (
    ANALYSIS_SECONDS,
    MEASURES,
    OF_KEYS,
    REFUSED,
    Admissions,
    Times,
    WorkerFigures,
)

SECONDS = st.lists(st.floats(0, 10), max_size=40)


@given(SECONDS)
def test_each_bucket_holds_what_is_not_above_its_bound(seconds: list[float]) -> None:
    """A time on a bound belongs to it, and the last bucket has all."""
    times = Times()
    for one in seconds:
        times.add(one)
    expected = [(str(bound), sum(one <= bound for one in seconds)) for bound in ANALYSIS_SECONDS]
    assert times.cumulative() == [*expected, ("+Inf", len(seconds))]
    assert times.sum == sum(seconds)


@given(SECONDS, SECONDS)
def test_two_processes_add_up(first: list[float], second: list[float]) -> None:
    """The sum of two histograms is that of their times, through the file that a worker writes."""
    both, one, other = Times(), WorkerFigures(), WorkerFigures()
    for times, seconds in ((one.analysis, first), (other.analysis, second), (both, first), (both, second)):
        for value in seconds:
            times.add(value)
    total = msgspec.json.decode(msgspec.json.encode(one), type=WorkerFigures).analysis
    total.add_all(other.analysis)
    assert total.counts == both.counts
    assert abs(total.sum - both.sum) < 1e-9


def test_buckets_of_another_version_are_left_out() -> None:
    """While a new version takes over, a file with other buckets is not mixed in."""
    times = Times()
    times.add(0.1)
    times.add_all(Times(counts=[5, 5], sum=3.0))
    assert (sum(times.counts), times.sum) == (1, 0.1)


def test_admissions_of_all_processes_add_up() -> None:
    """Every figure, through the file that a worker writes."""
    one, other = WorkerFigures(), WorkerFigures()
    one.admissions, other.admissions = Admissions(3, 1, 1, 0, 2, 0, 1, 0.5), Admissions(4, 0, 1, 1, 0, 1, 0, 0.25)
    one.admissions.count("day", "refused")
    for budget, outcome in (("day", "refused"), ("day", "downgraded"), ("month", "refused")):
        other.admissions.count(budget, outcome, 2)
    total = msgspec.json.decode(msgspec.json.encode(one), type=WorkerFigures).admissions
    total.add_all(other.admissions)
    by_budget = {"day": {"refused": 3, "downgraded": 2}, "month": {"refused": 2}}
    assert total == Admissions(7, 1, 2, 1, 2, 1, 1, 0.75, by_budget)
    assert one.admissions.by_budget == {"day": {"refused": 1}}
    assert set(MEASURES) < set(Admissions.__struct_fields__)


def test_budgets_of_keys_are_counted_together() -> None:
    """There are as many as keys, and a label for each would be one that clients' numbers decide."""
    admissions = Admissions()
    for key in range(1_000):
        admissions.count(f"key:k{key}:daily", REFUSED)
    admissions.count("keynote", REFUSED)
    assert admissions.by_budget == {OF_KEYS: {REFUSED: 1_000}, "keynote": {REFUSED: 1}}
