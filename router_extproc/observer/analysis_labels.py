"""What a record says about analysis, as values for metric labels: bounded, whatever a configuration names its tasks."""

from __future__ import annotations

from collections.abc import Mapping

from router_extproc.observer.known_names import OTHER
from router_extproc.observer.records import SignalRecord
from router_extproc.registry.snapshot import Tier

# The words of a reason, as ``policy.auto`` writes them: ``auto:TIER``, then what decided beside the request's difficulty.
_AUTO = "auto"
DEADLINE = "analysis-deadline"
DIFFICULTY = "difficulty"
BECAUSE = frozenset({DIFFICULTY, DEADLINE, "reasoning", "risk", "task", "unsure", "unclassified"})
ABSTENTIONS = frozenset({"foreign", "gibberish", "misspelt", "unfamiliar", "too_short"})
_TIERS = frozenset(tier.label for tier in Tier)


def read_choice(reason: str, tier: str) -> tuple[str, str] | None:
    """The tier that ``auto`` chose and what decided it, None where something else than analysis chose.

    ``tier`` is that of the model that was called last, for the reason that names none.
    """
    # Behind a plus stands what budgets made of the choice.
    reason = reason.partition("+")[0]
    if reason == DEADLINE:
        return tier, DEADLINE
    word, _, rest = reason.partition(":")
    chosen, _, because = rest.partition(":")
    if word != _AUTO or chosen not in _TIERS:
        return None
    first = because.partition("=")[0] or DIFFICULTY
    return chosen, first if first in BECAUSE else OTHER


def abstentions(signals: Mapping[str, SignalRecord]) -> list[str]:
    """Why the classifier was not sure of the text; empty where it was."""
    routing = signals["routing"].value if "routing" in signals else None
    found = routing.get("unsure") if isinstance(routing, dict) else None
    words = found if isinstance(found, list) else []
    return [word if isinstance(word, str) and word in ABSTENTIONS else OTHER for word in words]
