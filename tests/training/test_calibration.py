"""From scores to the probability that a tier is good enough."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from router_extproc.training.calibration import fit_tiers

SCORES = np.linspace(-10, 10, 400)
KINDS = np.full(400, "written")


def test_the_curves_that_made_the_judgements_are_found() -> None:
    """Judgements made from three curves lead back to them."""
    offsets, slopes = np.array([0.5, 1.5, 3.0]), np.array([0.4, 0.3, 0.3])
    tiers = fit_tiers(SCORES, expit(offsets - SCORES[:, None] * slopes), KINDS)
    assert tiers.offset == pytest.approx(offsets, abs=1e-3)
    assert tiers.slope == pytest.approx(slopes, abs=1e-3)


def test_prompts_nobody_judged_count_nothing() -> None:
    """A row without a judgement changes no curve."""
    enough = expit(1 - SCORES[:, None] * np.array([0.4, 0.3, 0.2]))
    unjudged = np.vstack((enough, np.full((50, 3), np.nan)))
    more = fit_tiers(np.concatenate((SCORES, np.full(50, 99.0))), unjudged, np.concatenate((KINDS, np.full(50, "other"))))
    assert more.slope == pytest.approx(fit_tiers(SCORES, enough, KINDS).slope)


def test_each_kind_counts_the_same_whatever_its_size() -> None:
    """Repeating the prompts of one kind changes nothing."""
    enough = np.repeat(expit(1 - 0.4 * SCORES)[:, None], 3, axis=1)
    kinds = np.where(SCORES > 0, "high", "low")
    high = SCORES > 0
    twice = fit_tiers(
        np.concatenate((SCORES, SCORES[high])), np.vstack((enough, enough[high])), np.concatenate((kinds, kinds[high]))
    )
    assert twice.offset == pytest.approx(fit_tiers(SCORES, enough, kinds).offset, abs=1e-3)


def test_a_probability_leads_back_to_its_demand() -> None:
    """The demand for a probability has that probability, and tiers ascend."""
    tiers = fit_tiers(SCORES, expit(np.array([0.5, 1.5, 3.0]) - SCORES[:, None] * 0.3), KINDS)
    economy, standard, premium = tiers.enough(np.array([tiers.demand_at(0.3)]))[0]
    assert economy == pytest.approx(0.7)
    assert economy <= standard <= premium
