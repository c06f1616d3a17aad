"""The words of metric labels are those that deciding writes, and no others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.analysis.doubts import DOUBTS
from router_extproc.observer.analysis_labels import ABSTENTIONS, BECAUSE, DEADLINE, DIFFICULTY, abstentions, read_choice
from router_extproc.observer.records import SignalRecord
from router_extproc.policy import auto
from router_extproc.registry.snapshot import Model, Tier


def model(tier: Tier) -> Model:
    return Model(name="m", tier=tier, quality=0.5, deployments=(), strengths=("code",))


def test_every_reason_that_auto_gives_is_read() -> None:
    """Tier and cause come back as they went in, for each cause that there is."""
    causes = {None: DIFFICULTY, "risk=legal": "risk", "unsure=foreign": "unsure", auto.UNCLASSIFIED: "unclassified"}
    for tier in Tier:
        for written, expected in causes.items():
            reason = auto.Wish(tier, "chat", written).reason(model(tier))
            assert read_choice(reason, "") == (tier.label, expected)
        assert read_choice(auto.Wish(tier, "code").reason(model(tier)), "") == (tier.label, "task")
        assert read_choice(auto.Wish(tier, None, auto.DEADLINE).reason(model(tier)), "premium") == ("premium", DEADLINE)


def test_every_doubt_of_the_classifier_has_its_label() -> None:
    """What the classifier may be unsure for is what is counted."""
    assert set(DOUBTS) == ABSTENTIONS
    assert abstentions({"routing": SignalRecord({"unsure": list(DOUBTS)}, 0.1)}) == list(DOUBTS)


@pytest.mark.parametrize("suffix", ["+budget-downgrade:house", "+max-tokens-lowered:a:b+over-budget:c"])
def test_what_budgets_made_of_a_choice_does_not_hide_it(suffix: str) -> None:
    """The choice is counted as what it was."""
    assert read_choice(f"auto:premium:risk=medical{suffix}", "economy") == ("premium", "risk")
    assert read_choice(f"auto:economy{suffix}", "") == ("economy", "difficulty")
    assert read_choice(f"analysis-deadline{suffix}", "premium") == ("premium", "analysis-deadline")


@given(st.text(), st.sampled_from(["", "economy", "premium"]))
def test_no_reason_makes_a_label_of_its_own(reason: str, tier: str) -> None:
    """Whatever stands in a record, labels come from the lists."""
    choice = read_choice(reason, tier) or read_choice(f"auto:economy:{reason}", tier)
    assert choice is not None
    assert choice[1] in BECAUSE | {"other"}


@given(st.recursive(st.none() | st.text() | st.floats(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_odd_signals_are_no_abstentions(value: object) -> None:
    """A record of another version is counted as far as it can be read."""
    for found in (value, {"unsure": value}):
        assert set(abstentions({"routing": SignalRecord(found, 0.0)})) <= {"other", *ABSTENTIONS}
    assert abstentions({}) == []
