"""What the last window left unused and this one may use beside its own amount.

Rules of this file
- Carried is what is missing to the budget's own cap, so one window's amount at most: neither raises nor what was carried into
  the last window are carried on.
- What was under way when the window ended is settled in it afterwards. Until it is, it is taken for used there: no window may
  use what another one turns out to have used.
- Amounts are passed in; whoever asks a store says which were read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from msgspec.structs import replace

from router_extproc.limits.claims import Claim
from router_extproc.limits.windows import part
from router_extproc.registry.snapshot import Registry
from router_extproc.registry.spending import Budget
from router_extproc.store.counters import Level, Query


class Carry(NamedTuple):
    """The window that begins at ``begins`` is left something by the one that begins at ``previous``, in one counter."""

    counter: str
    previous: int
    begins: int

    @property
    def queries(self) -> tuple[Query, Query]:
        """What is asked of the store: everything since the last window began, and since this one did."""
        return Query(self.counter, self.previous), Query(self.counter, self.begins)

    def is_settled(self, registry: Registry, now: float) -> bool:
        """Whether nothing can be set aside any more that was under way when the last window ended."""
        return now >= self.begins + registry.spending.store.reservation_ms / 1_000


def carry_into(budget: Budget, counter: str, begins: int) -> Carry | None:
    """Where the window that begins then (epoch seconds) has something from; None where it begins with its own amount alone."""
    if budget.rollover_since is None or budget.window.calendar is None or budget.unit == "parallel":
        return None
    previous = part(budget.window, begins - 1).bucket
    return Carry(counter, previous, begins) if previous >= budget.rollover_since else None


def carries_of(claim: Claim) -> tuple[Carry, ...]:
    """Everything that must be read before the store is asked for the claim."""
    return tuple(carry for carry in _by_place(claim) if carry is not None)


def most_used(since_previous: Level, since_this: Level, before: int | None = None, *, is_settled: bool = False) -> int:
    """The most that the last window can turn out to have used, from the levels that a ``Carry`` asks for.

    What is set aside now may have been set aside then, unless the window ``is_settled``. Read again, it may also be newer:
    ``before`` is what was found the last time.
    """
    settled = max(0, since_previous.settled - since_this.settled)
    most = settled if is_settled else settled + since_this.held
    return most if before is None else max(settled, min(before, most))


def carried(budget: Budget, used: int) -> int:
    """What a window is left by one that used so much."""
    return max(0, budget.cap - used)


def with_carried(claim: Claim, used: Mapping[Carry, int]) -> Claim:
    """The claim with the caps that hold; a window whose last one is not in ``used`` is left nothing by it."""
    holds, held = list(claim.holds), list(claim.account.held)
    for place, carry in enumerate(_by_place(claim)):
        if carry is None or carry not in used:
            continue
        more = carried(claim.budgets[place], used[carry])
        holds[place] = replace(holds[place], limit=holds[place].limit + more)
        held[place] = replace(held[place], limit=held[place].limit + more)
    return replace(claim, holds=tuple(holds), account=replace(claim.account, held=tuple(held)))


def _by_place(claim: Claim) -> list[Carry | None]:
    return [carry_into(budget, hold.counter, hold.bucket) for hold, budget in zip(claim.holds, claim.budgets, strict=True)]
