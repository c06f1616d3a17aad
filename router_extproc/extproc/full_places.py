"""Places that had no room a moment ago: who would go there is sent elsewhere without asking the store again.

Only a guess, and only about places: what nobody else has room for is asked of the store after all, and no budget of a
caller is ever guessed at.
"""

from __future__ import annotations

from router_extproc.limits.claims import Claim
from router_extproc.store.counters import Level, Verdict

REMEMBERED_SECONDS = 0.1
"""How long a place is passed over after it had no room. What becomes free there meanwhile waits for the next request."""

_MOST = 10_000


class FullPlaces:
    """What the store said of counters of places when it refused them."""

    def __init__(self) -> None:
        self._full: dict[str, tuple[float, Level, float | None]] = {}

    def learn(self, claim: Claim, verdict: Verdict, now: float) -> None:
        """Takes note of the places that refused; ``now`` counts seconds, by any clock that all calls share."""
        if len(self._full) > _MOST:
            self._full.clear()
        for index, free_at in zip(verdict.refused, verdict.free_at, strict=False):
            if claim.budgets[index].is_of_place:
                self._full[claim.holds[index].counter] = (now + REMEMBERED_SECONDS, verdict.levels[index], free_at)

    def guess(self, claim: Claim, now: float) -> Verdict | None:
        """What the store would say if nothing had changed; None where no place that is asked was full a moment ago."""
        if not self._full:
            return None
        levels, refused, free_at = [Level()] * len(claim.holds), [], []
        for index, hold in enumerate(claim.holds):
            found = self._full.get(hold.counter)
            if found is None or hold.kind != "enforce":
                continue
            ends, level, free = found
            if now >= ends:
                del self._full[hold.counter]
            elif level.used + hold.amount > hold.limit:
                levels[index] = level
                refused.append(index)
                free_at.append(free)
        return Verdict(tuple(levels), tuple(refused), (), tuple(free_at)) if refused else None
