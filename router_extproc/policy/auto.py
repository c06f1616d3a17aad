"""What ``auto`` asks of a model for one request, and in which order it then tries them.

Rules of this file
- The lowest tier that is good enough with the probability the route asks for; what is not known is taken for hard.
- Risk is a floor: it raises the tier whatever else is known, and never lowers it.
- What is to be thought through gets a tier for it, however easy it looks; a weaker one may still serve it in need.
- Within a tier, models that are known for this kind of work come first, then the cheaper.
- When an attempt fails, the next goes up a tier, then to the tier's other models. Weaker tiers come last: a weaker answer
  is better than none, but below the floor of a risk only where no model at or above it can serve at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from router_extproc.facts import Analysis
from router_extproc.policy.choice import Choice
from router_extproc.policy.cost import EXPECTED_ANSWER_TOKENS
from router_extproc.registry.snapshot import Model, Tier

# Of a route that writes none.
QUALITY = 0.7
DEADLINE = "analysis-deadline"
UNCLASSIFIED = "unclassified"
REASONING = "reasoning"
# Of 175 real prompts that ask for no reasoning, 8 are lifted by it; of the 44 that do, 23 would have been taken for easy, and
# 16 of these are lifted (the tagged prompts of Just-Eval).
LIKELY_REASONING = 0.35
NO_RISK = "none"


class Wish(NamedTuple):
    """The weakest tier that will do, the kind of work, and what of the request decided beside its difficulty.

    ``floor`` is the tier below which nothing is tried as long as anything else can serve. ``answer_tokens`` are those that
    an answer will probably have.
    """

    tier: Tier
    task: str | None = None
    because: str | None = None
    floor: Tier = Tier.ECONOMY
    answer_tokens: int = EXPECTED_ANSWER_TOKENS

    def reason(self, chosen: Model) -> str:
        """Why this model was chosen, for machines: ``auto:economy``, ``auto:premium:risk=medical``."""
        if self.because == DEADLINE:
            return DEADLINE
        because = self.because
        if because is None and self.task in chosen.strengths:
            because = f"task={self.task}"
        return f"auto:{chosen.tier.label}" + (f":{because}" if because else "")


def read_wish(analysis: Analysis, quality: float, floors: Mapping[str, Tier], reasoning_tier: Tier = Tier.ECONOMY) -> Wish:
    """What a request asks for. ``quality`` is the least probability, 0 to 1, of a good enough answer.

    ``floors`` are tiers by risky domain; where there are none, nobody asks for the risk. ``reasoning_tier`` is the weakest
    tier for what is to be thought through; nobody asks whether it is where no weaker one would have been taken.
    """
    adequacy, risk = analysis.adequacy, analysis.risk if floors else NO_RISK
    expected = EXPECTED_ANSWER_TOKENS if analysis.answer_tokens is None else analysis.answer_tokens
    because: str | None
    if analysis.is_cut_short:
        return Wish(Tier.PREMIUM, analysis.task, DEADLINE, answer_tokens=expected)
    if adequacy is None or risk is None:
        tier, because = Tier.PREMIUM, UNCLASSIFIED
    else:
        tier = next((tier for tier, enough in zip(Tier, adequacy, strict=True) if enough >= quality), Tier.PREMIUM)
        because = f"unsure={analysis.unsure[0]}" if analysis.unsure and tier > Tier.ECONOMY else None
        if tier < reasoning_tier and (analysis.reasoning or 0) >= LIKELY_REASONING:
            tier, because = reasoning_tier, REASONING
    floor = Tier.ECONOMY if risk is None else floors.get(risk, Tier.ECONOMY)
    if floor > Tier.ECONOMY:
        tier, because = max(tier, floor), f"risk={risk}"
    return Wish(tier, analysis.task, because, floor, expected)


def in_order(
    choices: Sequence[Choice], wish: Wish, price: Callable[[Model], float], can_serve: Callable[[Choice], bool]
) -> Iterator[Choice]:
    """The choices as ``auto`` tries them."""
    tiers: dict[Tier, list[Choice]] = {}
    for choice in sorted(choices, key=lambda one: (wish.task not in one.model.strengths, price(one.model))):
        if can_serve(choice):
            tiers.setdefault(choice.model.tier, []).append(choice)
    first, *above = [tiers[tier] for tier in sorted(tiers) if tier >= wish.tier] or [[]]
    yield from first[:1]
    if above:
        yield above[0].pop(0)
    for found in (first[1:], *above):
        yield from found
    for tier in sorted(tiers, reverse=True):
        if tier < wish.tier and (tier >= wish.floor or not first):
            yield from tiers[tier]
