"""One request explained for one caller: where it would go, and what budgets and limits would make of that.

``router-extproc explain`` and ``POST /explain`` of the admin API both ask here, so that they say the same. A dry run says it
too, on the way that the request itself takes. Nobody is called, nothing is set aside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from msgspec.structs import replace

from router_extproc.caller import NOBODY, Caller
from router_extproc.decision import Constraints, Decision
from router_extproc.errors import RouterError
from router_extproc.limits.claims import budgets_for
from router_extproc.limits.identity import bearer_of, believed, caller_of_grant, caller_of_key, caller_of_tenant, key_id
from router_extproc.limits.rehearsal import rehearse, with_levels
from router_extproc.limits.sessions import compared_by, session_of
from router_extproc.outlook import Rehearsal
from router_extproc.policy.explanation import Explanation
from router_extproc.registry.spending import KeyGrant, Raise, Spending
from router_extproc.request import Request
from router_extproc.router import Router, Situation
from router_extproc.store.counters import Level, Query, StoreUnavailableError


class Question(NamedTuple):
    """What would become of this request? Names of headers are lower-case. ``tenant``, or ``key`` by its id, says for whom;
    where neither does, it is for whom the headers prove, else for nobody.
    """

    path: str
    headers: Mapping[str, str]
    body: bytes
    tenant: str | None = None
    key: str | None = None


class Instance(Protocol):
    """What an instance knows beside its configuration; each method may raise ``StoreUnavailableError``."""

    async def find(self, key: str) -> KeyGrant | None:
        """The key of this id that was made at run time."""

    async def raises(self) -> Mapping[str, Sequence[Raise]]:
        """Raises made at run time, by the name of their budget."""

    async def levels(self, queries: Sequence[Query]) -> Sequence[Level]:
        """How full these counters are, in this order."""


class UnknownKeyError(RouterError):
    """A question names a key that there is not; ``key`` is its id."""

    def __init__(self, key: str) -> None:
        super().__init__(f"there is no key {key}: `router-extproc keys list` tells their ids")
        self.key = key


async def explain(question: Question, router: Router, situation: Situation, instance: Instance) -> Explanation:
    """The explanation. Of budgets it says nothing where none applies; how full they are is left open where nobody knows.

    Raises:
        RequestError: the request cannot be read, or the key among its headers proves nothing; a client is told the same.
        UnknownKeyError: there is no key of the id that the question names.
        StoreUnavailableError: keys that were made at run time cannot be read.
    """
    request = router.read("POST", question.path, question.headers, question.body)
    grant, caller = await _caller(question, router.registry.spending, situation.now, instance)
    request = replace(request, caller=caller)
    explanation = router.explain(request, situation)
    if explanation.decision is None:
        return explanation
    rehearsal = await _rehearsal(request, explanation.decision, grant, router, situation, instance)
    is_about_something = rehearsal.budgets or rehearsal.refusal is not None
    return replace(explanation, admission=rehearsal if is_about_something else None)


async def _caller(question: Question, spending: Spending, now: float, instance: Instance) -> tuple[KeyGrant | None, Caller]:
    """Who asks, with the key that says so, if one does."""
    shown, grant, caller = bearer_of(question.headers), None, NOBODY
    if question.key is not None:
        grant = await _grant(question.key, spending, instance)
        if grant is None:
            raise UnknownKeyError(question.key)
        caller = caller_of_grant(grant, spending.tenants)
    elif question.tenant is not None:
        caller = caller_of_tenant(question.tenant, spending.tenants)
    elif shown is not None and spending.auth.mode in (None, "keys") and (name := key_id(shown)) is not None:
        grant = await _grant(name, spending, instance)
        caller = caller_of_key(shown, grant, spending.tenants, now)
    return grant, believed(caller, question.headers, spending.tenants) if spending.auth.trusted else caller


async def _grant(name: str, spending: Spending, instance: Instance) -> KeyGrant | None:
    return spending.keys.get(name) or await instance.find(name)


async def _rehearsal(  # noqa: PLR0917 - a request, what it is decided by, and where the rest is found
    request: Request,
    decision: Decision,
    grant: KeyGrant | None,
    router: Router,
    situation: Situation,
    instance: Instance,
) -> Rehearsal:
    """What admission would make of the decision; raises that cannot be read count as none, as in earnest."""

    def decide(constraints: Constraints) -> Decision:
        return router.decide(request, replace(situation, constraints=constraints))

    try:
        raises = await instance.raises()
    except StoreUnavailableError:
        raises = {}
    readings = rehearse(
        request,
        decision,
        router.registry,
        budgets_for(router.registry, grant, raises),
        decide,
        situation.now,
        session=session_of(request.headers),
        fingerprint=compared_by(request, request.body, router.registry.spending.loop_guard),
        token_ratios=situation.token_ratios,
    )
    return await with_levels(readings, instance.levels)
