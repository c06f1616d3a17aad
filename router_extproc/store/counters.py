"""The one interface to what is counted: amounts set aside and amounts settled, by counter and part of a window.

A counter is named by a budget and the labels it counts for. Its window is cut into parts (``bucket``: the epoch second at
which a part begins; a calendar window is one part, a rolling one many). What counts against a limit is everything settled in
parts that begin at ``since`` or later, and everything set aside that has not expired.

Rules of this file
- Amounts are whole numbers in the counter's unit: micro-dollars, tokens, requests.
- Setting aside is all or nothing and idempotent by reservation: Envoy asks again when a worker dies. Who asks again may
  need more than the one before: what is there grows then, and is checked like anything new.
- Settled amounts are told as totals, not as differences: each instance says how much it has settled in a part of a window
  since that part began. Telling it again, or after a loss, changes nothing that was right and mends what was not.
- No import of a database or a clock here: pure rooms speak of these values too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from router_extproc.errors import RouterError

HoldKind = Literal["enforce", "observe", "count"]


class StoreUnavailableError(RouterError):
    """The store did not answer in time, or not at all; whether the amounts were set aside is not known."""


class Hold(msgspec.Struct, frozen=True):
    """What one request wants of one counter.

    ``enforce`` refuses the whole reservation when it does not fit; ``observe`` is then left out and reported; ``count``
    always fits. ``expires_at`` is when the window part is of no more interest, in epoch seconds.
    """

    counter: str
    bucket: int
    since: int
    amount: int
    limit: int
    kind: HoldKind
    expires_at: int


class Level(msgspec.Struct, frozen=True):
    """How full a counter is, without the reservation that asks."""

    settled: int = 0
    held: int = 0

    @property
    def used(self) -> int:
        """What counts against the limit."""
        return self.settled + self.held


class Verdict(msgspec.Struct, frozen=True):
    """The answer to one reservation; ``levels`` are in the order of its holds.

    ``refused`` are the places of enforced holds that did not fit: then nothing was set aside. ``beyond`` are those of
    observed ones that were left out. ``free_at`` says for each refused place when enough of what is settled will have left
    the window for the amount to fit, in epoch seconds; None when only what is set aside stands in its way, or when it
    never fits.
    """

    levels: tuple[Level, ...]
    refused: tuple[int, ...] = ()
    beyond: tuple[int, ...] = ()
    free_at: tuple[float | None, ...] = ()


class Total(msgspec.Struct, frozen=True):
    """How much this instance has settled in one part of a counter's window since that part began."""

    counter: str
    bucket: int
    amount: int
    expires_at: int


class Release(msgspec.Struct, frozen=True):
    """A reservation that is over, and the counters it had something set aside in; none named: all of them, whichever."""

    reservation: str
    counters: tuple[str, ...]


class Query(msgspec.Struct, frozen=True):
    """Asks for a counter's level over the parts that begin at ``since`` or later."""

    counter: str
    since: int


class CounterStore(Protocol):
    """Every method may raise ``StoreUnavailableError``, after the store's deadline at the latest. ``now`` is epoch seconds."""

    async def reserve(self, reservation: str, holds: Sequence[Hold], until: float, now: float) -> Verdict:
        """Sets all amounts aside until ``until``, or none. A reservation that has something set aside already keeps it.

        At most one hold a counter. A hold that is there already never becomes smaller, and one that is large enough is
        admitted even where the counter is full. Where more is asked it is raised, if that fits beside what others hold, and
        lasts until the later of both times; where that does not fit, an enforced one is refused, an observed one stays
        as it is, and both keep what they had until somebody gives it back. Whoever gives up a call takes back what that call
        added, and nothing else.
        """

    async def release(self, releases: Sequence[Release], now: float) -> None:
        """Gives back what was set aside; what is not there is no error."""

    async def settle(self, totals: Sequence[Total], releases: Sequence[Release], now: float) -> None:
        """Takes over this instance's totals and gives back what was set aside for what they contain, counter by counter at
        once: nobody may see an amount in neither or, for longer than a moment, in both.
        """

    async def read(self, queries: Sequence[Query], now: float) -> tuple[Level, ...]:
        """The levels, in the order of the queries; an unknown counter is empty."""

    async def claim(self, name: str, expires_at: float, now: float) -> bool:
        """True for exactly one caller of all instances until ``expires_at``: who gets it does what is to be done once."""

    async def aclose(self) -> None:
        """Gives connections and files back."""
