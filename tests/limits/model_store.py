"""The store's interface in a few lines, for one process and one moment: what a sequence of claims must add up to.

The real backends are held to the same rules by their own tests.
"""

from __future__ import annotations

from collections.abc import Sequence

from router_extproc.account import Account
from router_extproc.store.counters import Hold, Level, Verdict


class ModelStore:
    """What is set aside by (reservation, counter), and what is settled by (counter, bucket)."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], int] = {}
        self.settled: dict[tuple[str, int], int] = {}

    def level(self, hold: Hold, but: str) -> Level:
        """The counter's level, without the reservation that asks."""
        settled = sum(
            amount for (name, bucket), amount in self.settled.items() if name == hold.counter and bucket >= hold.since
        )
        held = sum(amount for (owner, name), amount in self.held.items() if name == hold.counter and owner != but)
        return Level(settled, held)

    def reserve(self, reservation: str, holds: Sequence[Hold]) -> Verdict:
        """All or nothing; what is there already never becomes smaller, and is raised where more is asked that fits."""
        levels = tuple(self.level(hold, reservation) for hold in holds)
        own = [self.held.get((reservation, hold.counter)) for hold in holds]
        fits = [
            hold.kind == "count" or (has is not None and hold.amount <= has) or level.used + hold.amount <= hold.limit
            for hold, level, has in zip(holds, levels, own, strict=True)
        ]
        refused = tuple(index for index, hold in enumerate(holds) if hold.kind == "enforce" and not fits[index])
        stays = [index for index, hold in enumerate(holds) if hold.kind == "observe" and not fits[index]]
        beyond = tuple(index for index in stays if own[index] is None)
        if refused:
            return Verdict(levels, refused, beyond, (None,) * len(refused))
        for index, hold in enumerate(holds):
            if index not in stays:
                self.held[reservation, hold.counter] = max(own[index] or 0, hold.amount)
        return Verdict(levels, (), beyond)

    def release(self, reservation: str, counters: Sequence[str]) -> None:
        for counter in counters:
            self.held.pop((reservation, counter), None)

    def settle(self, account: Account, amounts: dict[str, int]) -> None:
        """What was used, by unit, in every counter of the account."""
        for held in account.held:
            self.held.pop((account.reservation, held.counter), None)
            amount = 0 if held.unit == "parallel" else amounts.get(held.unit, 1)
            at = (held.counter, held.bucket)
            self.settled[at] = self.settled.get(at, 0) + amount

    def used(self, name: str) -> int:
        """Everything in the counters whose names begin so."""
        return sum(amount for (counter, _), amount in self.settled.items() if counter.startswith(name)) + sum(
            amount for (_, counter), amount in self.held.items() if counter.startswith(name)
        )
