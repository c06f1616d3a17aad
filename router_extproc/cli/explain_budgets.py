"""What budgets would make of an explained request: whose they are is said by options, how full they are by the instance."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import replace

from router_extproc.caller import NOBODY, Caller
from router_extproc.cli.admin_client import AdminClient, AdminError
from router_extproc.config.state import StateDirectory
from router_extproc.decision import Constraints, Decision
from router_extproc.errors import StartError
from router_extproc.limits.claims import budgets_for
from router_extproc.limits.identity import bearer_of, believed, caller_of_grant, caller_of_key, caller_of_tenant, key_id
from router_extproc.limits.rehearsal import rehearse
from router_extproc.limits.sessions import compared_by, session_of
from router_extproc.outlook import Rehearsal
from router_extproc.registry.spending import KeyGrant, Raise, Spending
from router_extproc.request import Request
from router_extproc.router import Router, Situation
from router_extproc.store.counters import Level, Query, StoreUnavailableError
from router_extproc.store.identity_reader import IdentityReader


def add_caller_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say who asks."""
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--tenant", help="with whose permissions and budgets (default: nobody's)")
    who.add_argument("--key", metavar="ID", help="the same for a virtual key, by what `keys list` calls it")


class Identities:
    """Keys and raises: those of the configuration, and those made at run time beside an instance's state, if there is one."""

    def __init__(self, spending: Spending, state: StateDirectory | None) -> None:
        self._spending = spending
        self._made = None if state is None else IdentityReader(state.identities)

    def find(self, name: str) -> KeyGrant | None:
        """The key of this id.

        Raises:
            StartError: keys that were made at run time cannot be read.
        """
        declared = self._spending.keys.get(name)
        if declared is not None or self._made is None:
            return declared
        try:
            return self._made.find(name)
        except StoreUnavailableError as error:
            raise StartError(f"keys cannot be read: {error}") from error

    def raises(self) -> Mapping[str, Sequence[Raise]]:
        """Raises made at run time; none where they cannot be read, as in earnest."""
        try:
            return {} if self._made is None else self._made.raises()
        except StoreUnavailableError:
            return {}


def caller_of(arguments: argparse.Namespace, headers: Mapping[str, str], spending: Spending, identities: Identities) -> Caller:
    """Who asks: as named by an option, else as a virtual key among the headers proves.

    Raises:
        StartError: there is no key of this id.
        AuthenticationError: the key among the headers proves nothing.
    """
    shown = bearer_of(headers)
    caller = NOBODY
    if arguments.key is not None:
        grant = identities.find(arguments.key)
        if grant is None:
            raise StartError(f"there is no key {arguments.key}: `router-extproc keys list` tells their ids")
        caller = caller_of_grant(grant, spending.tenants)
    elif arguments.tenant is not None:
        caller = caller_of_tenant(arguments.tenant, spending.tenants)
    elif shown is not None and spending.auth.mode in (None, "keys") and (name := key_id(shown)) is not None:
        caller = caller_of_key(shown, identities.find(name), spending.tenants, time.time())
    return believed(caller, headers, spending.tenants) if spending.auth.trusted else caller


def rehearsal_of(  # noqa: PLR0917 - a request, what it is decided by, and where the rest is found
    router: Router,
    request: Request,
    decision: Decision,
    situation: Situation,
    identities: Identities,
    state: StateDirectory | None,
) -> Rehearsal | None:
    """What budgets would make of the decision; without levels where no instance says them; None where nothing is counted."""

    def decide(constraints: Constraints) -> Decision:
        return router.decide(request, replace(situation, constraints=constraints))

    spending, caller = router.registry.spending, request.caller
    session = session_of(request.headers)
    readings = rehearse(
        request,
        decision,
        router.registry,
        budgets_for(router.registry, identities.find(caller.key) if caller.key else None, identities.raises()),
        decide,
        situation.now,
        session=session,
        fingerprint=compared_by(request, request.body, spending.loop_guard),
        token_ratios=situation.token_ratios,
    )
    levels: Sequence[Level] | None = None
    while True:
        try:
            queries = readings.send(levels)
        except StopIteration as end:
            rehearsal: Rehearsal = end.value
            return rehearsal if rehearsal.budgets or rehearsal.refusal is not None else None
        levels = _levels(queries, state)


def says_who_would_matter(spending: Spending, caller: Caller) -> bool:
    """Whether an explanation for nobody leaves out what most requests meet."""
    return caller is NOBODY and bool(spending.tenants or spending.keys or spending.auth.mode in ("keys", "jwt", "mesh"))


def _levels(queries: Sequence[Query], state: StateDirectory | None) -> Sequence[Level] | None:
    """What the running instance says; None where there is none, or it cannot say."""
    if state is None:
        return None
    try:
        found = AdminClient.found(state.root).post("/levels", {"queries": [msgspec.structs.asdict(one) for one in queries]})
    except (StartError, AdminError):
        return None
    return msgspec.convert(found["levels"], list[Level])
