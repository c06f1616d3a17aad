"""What budgets and limits would make of a request: the values that an explanation shows."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from router_extproc.account import Unit

Amount = int | str
"""Of money decimal text in USD, of everything else a whole number."""


class BudgetLookedAt(msgspec.Struct, frozen=True):
    """One budget that the request falls under, as it is before the request.

    Amounts are in the budget's ``unit``. ``wanted`` is what would be set aside for the request as it came; ``settled`` and
    ``reserved`` are None where they cannot be read. ``deployments`` are the places that it counts, None: wherever the request
    goes. ``resets_at`` is epoch seconds, None for never. ``outcome``: ``fits``, ``no room``, ``would refuse`` (it only
    observes) or ``over, let pass`` (``allow_and_flag``).
    """

    name: str
    scope: str
    unit: Unit
    mode: str
    cap: Amount
    wanted: Amount
    settled: Amount | None
    reserved: Amount | None
    outcome: str
    resets_at: int | None = None
    deployments: tuple[str, ...] | None = None


class Refused(msgspec.Struct, frozen=True):
    """The error that the client would get; ``retry_after`` in seconds, None where waiting is of no use."""

    status: int
    code: str | None
    message: str
    retry_after: int | None = None


class Rehearsal(msgspec.Struct, frozen=True):
    """What admission would do now.

    ``levels_known`` is false where counters could not be read and were taken as empty. ``reasons`` are what would follow the
    decision's reason, each after a ``+``; ``chain`` are the deployments that would be tried in the end; ``closed`` names
    places that would be left out, and why; ``max_output_tokens`` would be written into the body. ``refusal`` is None where
    the request would pass.
    """

    levels_known: bool
    budgets: tuple[BudgetLookedAt, ...] = ()
    reasons: tuple[str, ...] = ()
    chain: tuple[str, ...] = ()
    closed: Mapping[str, str] = {}
    max_output_tokens: int | None = None
    refusal: Refused | None = None
