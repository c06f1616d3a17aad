"""What ``auto`` asks of a model for one request, and in which order it then tries them.

Rules of this file
- The lowest tier that is good enough with the probability the route asks for; what is not known is taken for hard.
- Risk is a floor: it raises the tier whatever else is known, and never lowers it.
- Within a tier, models that are known for this kind of work come first, then the cheaper.
- When an attempt fails, the next goes up a tier, then to the tier's other models. A weaker tier only serves where no model
  of the wanted tier or above can.
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


class Wish(NamedTuple):
    """The weakest tier that will do, the kind of work, and what of the request decided beside its difficulty.

    ``answer_tokens`` are those that an answer will probably have.
    """

    tier: Tier
    task: str | None = None
    because: str | None = None
    answer_tokens: int = EXPECTED_ANSWER_TOKENS

    def reason(self, chosen: Model) -> str:
        """Why this model was chosen, for machines: ``auto:economy``, ``auto:premium:risk=medical``."""
        if self.because == DEADLINE:
            return DEADLINE
        because = self.because
        if because is None and self.task in chosen.strengths:
            because = f"task={self.task}"
        return f"auto:{chosen.tier.label}" + (f":{because}" if because else "")


def read_wish(analysis: Analysis, quality: float, floors: Mapping[str, Tier]) -> Wish:
    """What a request asks for. ``quality`` is the least probability, 0 to 1, of a good enough answer."""
    adequacy, risk = analysis.adequacy, analysis.risk
    task = analysis.task
    because: str | None
    if adequacy is None:
        tier, because = Tier.PREMIUM, DEADLINE if analysis.is_cut_short else UNCLASSIFIED
    else:
        tier = next((tier for tier, enough in zip(Tier, adequacy, strict=True) if enough >= quality), Tier.PREMIUM)
        because = f"unsure={analysis.unsure[0]}" if analysis.unsure and tier > Tier.ECONOMY else None
    floor = None if risk is None else floors.get(risk)
    if floor is not None and floor > Tier.ECONOMY and because != DEADLINE:
        tier, because = max(tier, floor), f"risk={risk}"
    expected = analysis.answer_tokens
    return Wish(tier, task, because, EXPECTED_ANSWER_TOKENS if expected is None else expected)


def in_order(
    choices: Sequence[Choice], wish: Wish, price: Callable[[Model], float], can_serve: Callable[[Choice], bool]
) -> Iterator[Choice]:
    """The choices as ``auto`` tries them; looks no further than it is asked."""
    tiers: dict[Tier, list[Choice]] = {}
    for choice in choices:
        tiers.setdefault(choice.model.tier, []).append(choice)
    ranked = {
        tier: sorted(found, key=lambda choice: (wish.task not in choice.model.strengths, price(choice.model)))
        for tier, found in tiers.items()
    }
    up = [[choice for choice in ranked[tier] if can_serve(choice)] for tier in sorted(ranked) if tier >= wish.tier]
    up = [found for found in up if found]
    if up:
        first, *above = up
        yield first[0]
        if above:
            yield above[0][0]
        yield from first[1:]
        for place, found in enumerate(above):
            yield from found[1 if place == 0 else 0 :]
    else:
        for tier in sorted(ranked, reverse=True):
            yield from ranked[tier]
