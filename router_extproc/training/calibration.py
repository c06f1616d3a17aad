"""From a routing score to the probability that each tier is good enough."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

Values = NDArray[np.float64]


class Tiers(NamedTuple):
    """Economy, standard, premium are good enough with the probability sigmoid(offset - slope * demand)."""

    offset: Values
    slope: Values

    def enough(self, demand: Values) -> Values:
        """[n, 3], ascending."""
        return np.maximum.accumulate(expit(self.offset - np.asarray(demand)[:, None] * self.slope), axis=1)

    def demand_at(self, needs_strong: float) -> float:
        """The demand at which economy is not good enough with this probability."""
        return float((self.offset[0] + np.log(needs_strong / (1 - needs_strong))) / self.slope[0])


def fit_tiers(demand: Values, enough: Values, kinds: NDArray[np.str_]) -> Tiers:
    """Logistic curves through judged prompts, every kind of prompt counting the same.

    Args:
        demand: scores of n prompts, of fits that did not see them.
        enough: the probability that each tier is good enough, [n, 3]; NaN where nobody judged.
        kinds: which kind each prompt is of.
    """
    told = ~np.isnan(enough).any(axis=1)
    demand, enough, kinds = demand[told], enough[told], kinds[told]
    counts = np.zeros(len(kinds))
    for kind in np.unique(kinds):
        counts[kinds == kind] = 1 / (kinds == kind).sum()
    pairs = [_fit(demand, enough[:, tier], counts) for tier in range(enough.shape[1])]
    return Tiers(np.array([offset for offset, _ in pairs]), np.array([slope for _, slope in pairs]))


def _fit(demand: Values, enough: Values, counts: Values) -> tuple[float, float]:
    def loss(pair: Values) -> tuple[float, Values]:
        logits = pair[0] - pair[1] * demand
        error = (expit(logits) - enough) * counts
        value = float(((np.logaddexp(0, logits) - enough * logits) * counts).sum())
        return value, np.array([error.sum(), -(error * demand).sum()])

    offset, slope = minimize(loss, np.array([0.0, 0.5]), jac=True, method="L-BFGS-B", bounds=[(-20, 20), (0.01, 5)]).x
    return float(offset), float(slope)
