"""One request on its way through admission, as values: what is asked for it, and what came of that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import msgspec

from router_extproc.account import Account
from router_extproc.decision import Constraints, Decision
from router_extproc.limits.ladder import Figures, Refuse
from router_extproc.limits.sessions import session_of
from router_extproc.registry.snapshot import Registry
from router_extproc.request import Request
from router_extproc.store.counters import CounterStore


class Admitted(msgspec.Struct, frozen=True):
    """A request that goes on, with what was set aside for it and what is told about it.

    ``degraded``: the store could not be asked. ``system_line`` is said to a conversation that goes round in circles.
    """

    decision: Decision
    account: Account
    max_output_tokens: int | None = None
    figures: Figures = Figures()
    flagged: tuple[str, ...] = ()
    observed: tuple[str, ...] = ()
    degraded: bool = False
    system_line: str | None = None


class RefusedError(Exception):
    """A request that does not go on; ``step`` has the error for the client and the limits that it met."""

    def __init__(self, step: Refuse) -> None:
        super().__init__(step.error.message)
        self.step = step


class Stores(Protocol):
    """Where counters live; to ask for them may raise ``StoreUnavailableError`` too."""

    @property
    def shared(self) -> CounterStore:
        """Those of all instances."""

    @property
    def local(self) -> CounterStore:
        """Those of this instance alone; the same ones where there is only one."""


class Case(msgspec.Struct, frozen=True):
    """One request as admission sees it. ``decide`` decides again under constraints, ``be_patient`` tells Envoy to wait.

    ``fingerprint`` is what requests of one session are compared by, ``life`` the name of the life of the Envoy that asks,
    empty where it says none. ``asked`` are the counters in which something was asked
    for, whatever came of it, ``unanswered`` those of them whose store did not say.
    """

    request: Request
    decision: Decision
    registry: Registry
    token_ratios: Mapping[str, float]
    decide: Callable[[Constraints], Decision]
    be_patient: Callable[[], Awaitable[None]]
    fingerprint: str = ""
    life: str = ""
    asked: set[str] = msgspec.field(default_factory=set)
    unanswered: set[str] = msgspec.field(default_factory=set)

    @property
    def reservation(self) -> str:
        """The id of the decision: Envoy's own, which a client cannot choose."""
        return self.request.headers.get("x-request-id", "")

    @property
    def session(self) -> str:
        """What the client calls its conversation."""
        return session_of(self.request.headers)
