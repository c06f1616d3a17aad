"""What follows from the store's answer: go on, decide again with less, or refuse; and what is done without a store.

Rules of this file
- Amounts are compared as whole numbers. Shares are exact decimals of the cap.
- First the answer is made shorter, then the model cheaper, then the request is refused.
- A budget never takes a request below a floor of its own: a safety-critical route, a risk, a tier asked for.
- Observed budgets change nothing and are reported.
"""

from __future__ import annotations

import msgspec

from router_extproc.account import Account
from router_extproc.decision import Constraints, Decision
from router_extproc.errors import RequestError
from router_extproc.limits.claims import Claim
from router_extproc.registry.snapshot import Registry
from router_extproc.request import Request
from router_extproc.store.counters import Verdict


class Figure(msgspec.Struct, frozen=True):
    """One limit as its header shows it: the limit, what is left of it, the seconds until it resets (0: unknown)."""

    limit: int
    remaining: int
    reset_seconds: float = 0.0


class Figures(msgspec.Struct, frozen=True):
    """The tightest limits on requests and on tokens that apply to a request; None where none does."""

    requests: Figure | None = None
    tokens: Figure | None = None


class Proceed(msgspec.Struct, frozen=True):
    """The request goes on.

    ``account`` is what was set aside. ``max_output_tokens`` must be written into the body unless None. ``reasons`` are added
    to the decision's reason, each after a ``+``. ``remaining_micro_usd`` is what the tightest enforced money budget has left.
    ``flagged`` names budgets that are beyond their cap and allow it, ``observed`` those that would have refused.
    """

    account: Account
    max_output_tokens: int | None = None
    reasons: tuple[str, ...] = ()
    remaining_micro_usd: int | None = None
    figures: Figures = Figures()
    flagged: tuple[str, ...] = ()
    observed: tuple[str, ...] = ()
    degraded: bool = False


class Refuse(msgspec.Struct, frozen=True):
    """The request is refused. ``wait_until`` (epoch seconds): waiting until then may help; None: it will not.

    ``budget`` names what refused it. Nothing is set aside.
    """

    error: RequestError
    budget: str = ""
    wait_until: float | None = None
    figures: Figures = Figures()


class Again(msgspec.Struct, frozen=True):
    """Decide again under ``constraints``, plan with the same constraints, and reserve.

    Where the router then raises, ``otherwise`` is what happens. ``release`` are counters that something was set aside in by
    the reservation that was answered: to be given back before reserving again, but not where ``otherwise`` happens.
    """

    constraints: Constraints
    otherwise: Proceed | Refuse
    release: tuple[str, ...] = ()


Step = Proceed | Again | Refuse


def next_step(claim: Claim, verdict: Verdict, registry: Registry, request: Request, decision: Decision, now: float) -> Step:
    """What follows from the store's answer to a claim. Repeated, it comes to an end: each ``Again`` leaves less."""
    raise NotImplementedError


class Alone(msgspec.Struct, frozen=True):
    """What is done without a store. ``claim`` is to be set aside in the local store, unless it has no holds; then
    ``next_step`` goes on from that store's answer, and is to be marked as degraded.
    """

    claim: Claim


def on_store_failure(claim: Claim, now: float) -> Alone | Refuse:
    """What each budget wishes while the store cannot be reached: ``fail_closed`` refuses, ``local_share`` counts here, in
    counters of its own, ``fail_open`` lets pass. Whatever passes is settled in all its budgets once the store is back.
    """
    raise NotImplementedError
