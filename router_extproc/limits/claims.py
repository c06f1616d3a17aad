"""From a decision to what is to be set aside for it: which budgets it falls under, in which counters, how much in each.

Rules of this file
- A budget in enforce or observe is asked for an upper bound, a soft one for the likely amount.
- Counters are named here and nowhere else. A name is plain ASCII without spaces and braces, at most 300 bytes.
- Everything that settling needs is written into the account: whoever settles knows no registry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from router_extproc.account import Account, Purpose
from router_extproc.decision import NO_CONSTRAINTS, Constraints, Decision
from router_extproc.registry.health import NO_RATIOS
from router_extproc.registry.snapshot import Registry
from router_extproc.registry.spending import Budget, KeyGrant, Raise
from router_extproc.request import Request
from router_extproc.store.counters import Hold


class Claim(msgspec.Struct, frozen=True):
    """What one request wants of the store; ``budgets`` are parallel to ``holds``, each with the cap that holds now.

    ``account`` is what would be settled if everything is set aside: take the one of ``Proceed`` instead, which leaves out what
    was not. ``max_output_tokens`` is the limit of each answer that the bound rests on and that must be written into the body;
    None: the client's body says it already, or nobody asks. ``resets_at`` is by hold too: when its window part is over, in epoch
    seconds. ``constraints`` are those that the decision was made under.
    """

    holds: tuple[Hold, ...]
    budgets: tuple[Budget, ...]
    account: Account
    max_output_tokens: int | None = None
    resets_at: tuple[int | None, ...] = ()
    constraints: Constraints = NO_CONSTRAINTS


def budgets_for(
    registry: Registry, key: KeyGrant | None = None, raises: Mapping[str, Sequence[Raise]] = {}
) -> tuple[Budget, ...]:
    """Every budget a request may fall under: the registry's, the key's own, with the raises made at run time by budget name.

    A key's own budget is named ``key:ID:NAME`` and counts what is asked with that key.
    """
    raise NotImplementedError


def plan(
    request: Request,
    decision: Decision,
    registry: Registry,
    budgets: Sequence[Budget],
    now: float,
    *,
    reservation: str,
    session: str = "",
    purpose: Purpose = "answer",
    constraints: Constraints = NO_CONSTRAINTS,
    token_ratios: Mapping[str, float] = NO_RATIOS,
) -> Claim:
    """What the decision wants of each budget that the request falls under.

    ``budgets`` come from ``budgets_for``, ``constraints`` are those of the situation that the decision was made in;
    ``reservation`` is the id of the decision, ``session`` what the client calls its conversation. Without a budget that
    matches, the claim has no holds and nothing need be asked of the store.
    """
    raise NotImplementedError


def labels_of(request: Request, route: str, session: str = "") -> dict[str, str]:
    """The labels by which budgets find a request, without those that say where it goes; what it lacks is missing."""
    raise NotImplementedError


def counter_name(budget: Budget, labels: Mapping[str, str]) -> str | None:
    """The counter of a budget for these labels: ``UNIT:NAME|label=value``; None when a label of ``per`` is missing."""
    raise NotImplementedError


def cap_at(budget: Budget, now: float) -> int:
    """The cap with the raises that hold at ``now`` (epoch seconds)."""
    raise NotImplementedError
