"""The three things that may follow from the store's answer, as values."""

from __future__ import annotations

import msgspec

from router_extproc.account import Account
from router_extproc.decision import Constraints
from router_extproc.errors import RequestError
from router_extproc.limits.figures import Figures


class Proceed(msgspec.Struct, frozen=True):
    """The request goes on.

    ``account`` is what was set aside. ``max_output_tokens`` must be written into the body unless None. ``reasons`` are added
    to the decision's reason, each after a ``+``. ``figures`` are what is left of the tightest enforced budgets. ``flagged``
    names budgets that are beyond their cap and allow it, ``observed`` those that would have refused. ``degraded``: decided
    without the store. ``system_line`` is to be said to a session that goes round in circles, and its tools are to be removed.
    """

    account: Account
    max_output_tokens: int | None = None
    reasons: tuple[str, ...] = ()
    figures: Figures = Figures()
    flagged: tuple[str, ...] = ()
    observed: tuple[str, ...] = ()
    degraded: bool = False
    system_line: str | None = None


class Refuse(msgspec.Struct, frozen=True):
    """The request is refused; nothing is set aside. ``budget`` names what refused it.

    ``wait_until`` is set where a provider's own limit stands in the way: there may be room from then on (epoch seconds), or,
    where that has passed, as soon as another request ends. None: waiting is of no use.
    """

    error: RequestError
    budget: str = ""
    wait_until: float | None = None
    figures: Figures = Figures()


class Again(msgspec.Struct, frozen=True):
    """Decide again under ``constraints``, plan with the same constraints, and reserve.

    Where the router then raises, ``otherwise`` is the step instead. ``release`` are counters in which the reservation that was
    answered has something set aside: to be given back before the next one, but not where ``otherwise`` is taken.
    """

    constraints: Constraints
    otherwise: Step
    release: tuple[str, ...] = ()


Step = Proceed | Again | Refuse
