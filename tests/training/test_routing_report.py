"""How the routing score is judged."""

from __future__ import annotations

import numpy as np
import pytest

from router_extproc.training.routing_report import PUBLISHED, SETS, Judged, _compared, _tier

RANDOM = np.random.default_rng(3)
COUNT = 300
GAIN = (RANDOM.random(COUNT) < 0.3).astype(float)
JUDGED = Judged(
    prompts=["x" * int(length) for length in RANDOM.integers(5, 50, COUNT)],
    strong=np.ones(COUNT),
    weak=1 - GAIN,
    groups=["hard" if gain else "easy" for gain in GAIN],
    scores=GAIN + 0.1 * RANDOM.random(COUNT),
)


def test_a_perfect_score_is_as_good_as_the_oracle_and_chance_is_half() -> None:
    """The table's rows agree with what they are called."""
    rows = {str(row[1]): row for row in _compared("mmlu", JUDGED, 0)}
    apgr = {title: float(str(row[3]).split()[0]) for title, row in rows.items()}
    assert apgr["this classifier"] == apgr["oracle"] == apgr["category known, in-sample"]
    assert apgr["random"] == pytest.approx(0.5, abs=0.03)
    assert apgr["prompt length"] == pytest.approx(0.5, abs=0.1)
    assert apgr["this classifier"] > 0.8


def test_an_interval_holds_its_figure() -> None:
    """The bootstrap's interval is around the figure of all rows."""
    interval = JUDGED.apgr(JUDGED.scores, 0)
    assert interval.low < interval.value < interval.high


@pytest.mark.parametrize(("adequacy", "tier"), [((0.9, 0.95, 1.0), 0), ((0.5, 0.8, 0.9), 1), ((0.1, 0.2, 0.3), 2)])
def test_the_lowest_tier_that_will_do_is_taken(adequacy: tuple[float, float, float], tier: int) -> None:
    """At the default quality; the strongest where none will do."""
    assert _tier(adequacy) == tier


def test_every_set_stands_beside_what_was_published() -> None:
    """No set without RouteLLM's figures, which are shares."""
    assert set(SETS) == set(PUBLISHED)
    assert all(0 < value < 1 for _, *values in PUBLISHED.values() for value in values)
