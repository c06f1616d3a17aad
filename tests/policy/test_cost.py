"""Estimates of what a request costs."""

from __future__ import annotations

import pytest

from router_extproc.facts import Facts
from router_extproc.policy.cost import EXPECTED_ANSWER_TOKENS, estimate_cost
from router_extproc.registry.snapshot import Prices, PriceTier
from router_extproc.request import EMBEDDINGS, Request
from tests.policy import registries as build

MODEL = build.model("m", prices=Prices(2, 10), output_limit=300)
FACTS = Facts(prompt_tokens=1_000)


@pytest.mark.parametrize(
    ("request_", "cost"),
    [
        (build.chat("m", analysis=Facts(prompt_tokens=1_000, max_output_tokens=50)), 0.002 + 0.0005),
        (build.chat("m", analysis=Facts(prompt_tokens=1_000, max_output_tokens=50, choices=3)), 0.002 + 0.0015),
        (build.chat("m", analysis=FACTS), 0.002 + 0.003),
        (Request(EMBEDDINGS, "m", analysis=FACTS), 0.002),
        (Request("/v1/audio/speech", "m"), None),
        (Request("/v1/images/generations", "m"), None),
    ],
)
def test_estimates(request_: Request, cost: float | None) -> None:
    """Prompt and answers at list price: the caller's limit, else a usual answer within the model's limit."""
    assert estimate_cost(MODEL, request_) == (None if cost is None else pytest.approx(cost))


def test_without_a_price_nothing_is_guessed() -> None:
    """A model without a price has no estimate; without an output limit a usual answer is assumed."""
    assert estimate_cost(build.model("m"), build.chat("m", analysis=FACTS)) is None
    unlimited = build.model("m", prices=Prices(0, 1))
    assert estimate_cost(unlimited, build.chat("m")) == pytest.approx(EXPECTED_ANSWER_TOKENS / 1e6)


def test_a_long_prompt_is_estimated_at_its_own_price() -> None:
    """Where a vendor charges more above a threshold, the whole request costs more, and `cheap` sees it."""
    tiered = build.model("t", prices=Prices(1, 10, tiers=(PriceTier(100, 2, 20), PriceTier(200, 4, 40))))
    answers = [
        estimate_cost(tiered, build.chat("t", analysis=Facts(prompt_tokens=tokens, max_output_tokens=10)))
        for tokens in (100, 101, 200, 201)
    ]
    assert answers == pytest.approx([200e-6, 402e-6, 600e-6, 1204e-6])
