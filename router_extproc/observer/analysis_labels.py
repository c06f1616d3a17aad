"""What a record says about analysis, as values for metric labels: bounded, whatever a configuration names its tasks."""

from __future__ import annotations

from collections.abc import Mapping

from router_extproc.observer.known_names import OTHER
from router_extproc.observer.records import SignalRecord
from router_extproc.registry.snapshot import Tier

# The words of a reason: ``auto:TIER``, then ``KEY=VALUE`` or a word for each thing that moved the choice.
_AUTO = "auto"
ADEQUACY = "adequacy"
BECAUSE = frozenset({ADEQUACY, "risk", "task", "unsure", "analysis-deadline", "analysis-error", "analysis-unavailable"})
ABSTENTIONS = frozenset({"foreign", "gibberish", "misspelt", "unfamiliar", "too_short"})
_TIERS = frozenset(tier.label for tier in Tier)


def read_choice(reason: str) -> tuple[str, str] | None:
    """The tier that ``auto`` chose and what decided it first, None where something else than analysis chose."""
    word, _, rest = reason.partition(":")
    tier, _, because = rest.partition(":")
    if word != _AUTO or tier not in _TIERS:
        return None
    first = because.partition(":")[0].partition("=")[0] or ADEQUACY
    return tier, first if first in BECAUSE else OTHER


def abstentions(signals: Mapping[str, SignalRecord]) -> list[str]:
    """Why the classifier was not sure of the text; empty where it was."""
    routing = signals["routing"].value if "routing" in signals else None
    found = routing.get("unsure") if isinstance(routing, dict) else None
    words = found if isinstance(found, list) else []
    return [word if word in ABSTENTIONS else OTHER for word in words]
