"""What is learned of how a model counts tokens: slowly, within limits, and from nothing that says nothing."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.observer.records import Usage
from router_extproc.observer.token_ratios import FEWEST_OBSERVATIONS, FEWEST_TOKENS, LEAST, MOST, TokenRatios


def taught(*ratios: float, estimated: int = 1_000) -> TokenRatios:
    """What is learned of answers whose providers counted so many times the estimate."""
    learned = TokenRatios()
    for ratio in ratios:
        learned.observe("m", estimated, Usage(round(estimated * ratio), 10))
    return learned


def test_it_is_told_once_enough_was_seen() -> None:
    """A few answers say nothing, enough of them do, and models are apart."""
    learned = taught(*[1.2] * (FEWEST_OBSERVATIONS - 1))
    assert learned.view() == {}
    learned.observe("m", 1_000, Usage(1_200))
    learned.observe("n", 1_000, Usage(2_000))
    assert learned.view() == {"m": 1.2}


@pytest.mark.parametrize("ratio", [0.7, 1.0, 1.35])
def test_it_converges(ratio: float) -> None:
    """Among prompts that differ widely it settles within two hundredths."""
    noise = random.Random(1)  # noqa: S311 - no secret, only noise
    learned = taught(*(ratio * noise.lognormvariate(0, 0.2) for _ in range(2_000)))
    assert learned.view()["m"] == pytest.approx(ratio, abs=0.025)


def test_it_follows_another_tokenizer() -> None:
    """A model's name may stand for a new version: some hundred answers later its ratio is the new one's."""
    learned = taught(*[1.0] * 500)
    for number in range(400):
        learned.observe("m", 1_000, Usage(1_300))
        assert number > 10 or learned.view()["m"] < 1.05, "one answer moves little"
    assert learned.view()["m"] == pytest.approx(1.3, abs=0.02)


def test_outliers_hardly_move_it() -> None:
    """Neither at the beginning nor later, and however far out they are."""
    assert taught(*[50.0] * 5, *[1.1] * 15).view() == {"m": 1.1}
    noise = random.Random(2)  # noqa: S311 - as above
    ratios = [100.0 if noise.random() < 0.05 else 1.1 for _ in range(2_000)]
    assert taught(*ratios).view()["m"] == pytest.approx(1.1, abs=0.03)
    steady = taught(*[1.1] * 500)
    steady.observe("m", 1_000, Usage(1_000_000))
    assert steady.view()["m"] == pytest.approx(1.1, abs=0.01)


def test_it_stays_within_its_limits() -> None:
    """What no tokenizer explains is cut off, and the way back from there is not longer."""
    assert taught(*[9.0] * 1_000).view() == {"m": MOST}
    assert taught(*[0.01] * 1_000).view() == {"m": LEAST}
    learned = taught(*[9.0] * 1_000, *[1.0] * 500)
    assert learned.view()["m"] == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    ("estimated", "usage"),
    [
        (None, Usage(900)),
        (1_000, None),
        (1_000, Usage(0, 10)),
        (1_000, Usage(900, 10, cached_tokens=1)),
        (FEWEST_TOKENS - 1, Usage(90)),
        (0, Usage(90)),
    ],
)
def test_what_says_nothing_teaches_nothing(estimated: int | None, usage: Usage | None) -> None:
    """No estimate, no count, a count of zero, a cached prompt, a short one."""
    learned = TokenRatios()
    for _ in range(2 * FEWEST_OBSERVATIONS):
        learned.observe("m", estimated, usage)
    assert learned.view() == {}


def test_another_process_goes_on() -> None:
    """After a restart the ratio is the same at once, and as slow as before; nonsense in the file is left out."""
    learned = TokenRatios()
    learned.restore({**taught(*[1.2] * 300).view(), "odd": 40.0, "none": 0.0, "not a number": float("nan")})
    assert learned.view() == {"m": 1.2}
    learned.observe("m", 1_000, Usage(600))
    assert learned.view()["m"] == pytest.approx(1.2, abs=0.01)


def test_models_that_are_gone_are_forgotten() -> None:
    """What is kept is bounded by the registry."""
    learned = taught(*[1.2] * 30)
    learned.retain({"n"})
    assert learned.view() == {}


@given(st.lists(st.tuples(st.integers(0, 10**15), st.integers(0, 10**15), st.integers(0, 3)), max_size=60))
def test_whatever_is_reported_it_stays_possible(reports: list[tuple[int, int, int]]) -> None:
    """No figures of a provider make it fail or leave its limits."""
    learned = TokenRatios()
    for estimated, prompt, cached in reports:
        learned.observe("m", estimated, Usage(prompt, 0, cached))
    assert all(LEAST <= ratio <= MOST for ratio in learned.view().values())
