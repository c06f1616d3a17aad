"""Robustness: mistakes are made as promised, and a twin that gets cheaper is counted."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from router_extproc.training import robustness_report
from router_extproc.training.pipeline import OWN_DATA
from router_extproc.training.robustness_report import Twins, with_mistakes

TEXT = "The quick brown fox jumps over the lazy dog, 17 times in a row!"


def test_mistakes_are_few_seeded_and_leave_digits_alone() -> None:
    """Equal seeds make equal mistakes; none at a share of nothing; what is no letter stays."""
    noisy = with_mistakes(TEXT, 0.1, np.random.default_rng(1))
    assert noisy == with_mistakes(TEXT, 0.1, np.random.default_rng(1)) != TEXT
    assert with_mistakes(TEXT, 0.0, np.random.default_rng(1)) == TEXT
    assert [letter for letter in with_mistakes(TEXT, 1.0, np.random.default_rng(1)) if letter.isdigit()] == ["1", "7"]
    assert abs(len(noisy) - len(TEXT)) <= len(TEXT) // 5


def test_a_twin_that_gets_cheaper_is_counted_where_it_matters() -> None:
    """A score that falls past a route's quality sends the twin to the economy tier; one that falls elsewhere does not."""
    pairs = [(0.55, 0.45), (0.9, 0.85), (0.1, 0.1), (0.2, 0.6)]
    count, change, lower, *only_then = robustness_report._compared(pairs)
    assert count == 4
    assert change == pytest.approx((-0.1 - 0.05 + 0 + 0.4) / 4)
    assert lower == 0.5
    assert only_then == [0.25, 0, 0, 0]
    assert robustness_report._cheaper(pairs) == 0.25


def test_every_prompt_has_every_language() -> None:
    """The twins are complete, so that no language looks better for having the easier prompts."""
    twins = [msgspec.json.decode(line, type=Twins) for line in (OWN_DATA / robustness_report.TWINS).read_bytes().splitlines()]
    assert len(twins) >= 10
    assert len({frozenset(twin.twins) for twin in twins}) == 1
    assert len(twins[0].twins) >= 12
