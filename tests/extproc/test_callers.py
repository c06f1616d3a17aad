"""Who calls: keys declared and made at run time, tokens and peers that Envoy verified, and nobody."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from msgspec.structs import replace

from router_extproc.caller import NOBODY, Caller
from router_extproc.errors import AuthenticationError, RequestError, UnavailableError
from router_extproc.extproc.callers import PEER_HEADER, TOKEN_HEADER, Callers
from router_extproc.limits.identity import digest_of
from router_extproc.registry.spending import AuthSettings, Jwt, KeyGrant, Mesh, Raise, Spending, StoreSettings, Tenant
from router_extproc.store.counters import StoreUnavailableError

NOW = 1_000.0
DECLARED, MADE = "sk-router-declared.abc", "sk-router-made.xyz"


def grant(shown: str, **more: Any) -> KeyGrant:
    name = shown.removeprefix("sk-router-").partition(".")[0]
    return KeyGrant(id=name, tenant="acme", digests=((digest_of(shown, b"salt" * 4), None),), **more)


class Known:
    """Identities made at run time; broken ones cannot be read."""

    def __init__(self, *grants: KeyGrant, is_broken: bool = False) -> None:
        self.grants = {one.id: one for one in grants}
        self.is_broken = is_broken
        self.is_told = True

    def find(self, key: str) -> KeyGrant | None:
        self._check()
        return self.grants.get(key)

    def has_keys(self) -> bool:
        self._check()
        return bool(self.grants)

    def has_followed(self) -> bool:
        self._check()
        return self.is_told

    def raises(self) -> dict[str, tuple[Raise, ...]]:
        self._check()
        return {"b": (Raise(5, 2_000.0),)}

    def _check(self) -> None:
        if self.is_broken:
            raise StoreUnavailableError("broken")


KEYS = Spending(keys={"declared": grant(DECLARED)}, tenants={"acme": Tenant(tier="premium")})


def bearer(shown: str) -> dict[str, str]:
    return {"authorization": f"Bearer {shown}"}


def test_nobody_is_asked_until_a_key_exists() -> None:
    """Without a word about it callers are anonymous; from the first key on each must show one."""
    known = Known()
    callers = Callers(known)
    assert callers.identify(bearer("anything"), Spending(), NOW) is NOBODY
    known.grants["made"] = grant(MADE)
    callers.refresh()
    with pytest.raises(AuthenticationError):
        callers.identify({}, Spending(), NOW)
    assert callers.identify(bearer(MADE), Spending(), NOW).key == "made"
    known.grants.clear()
    callers.refresh()
    assert callers.mode(Spending()) == "keys", "deleting the last key opens no door"


def test_a_declared_key_is_enough_to_ask_everybody() -> None:
    """Also before anything was made at run time."""
    assert Callers(Known()).mode(KEYS) == "keys"
    assert Callers(Known()).identify(bearer(DECLARED), KEYS, NOW).tier == "premium"


def test_none_accepts_any_bearer_token() -> None:
    """Where it is written, even beside keys."""
    open_door = Spending(auth=AuthSettings(mode="none"), keys=KEYS.keys)
    assert Callers(Known()).identify(bearer("nonsense"), open_door, NOW) is NOBODY


@pytest.mark.parametrize("shown", ["", "nonsense", "sk-router-declared.abd", "sk-router-unknown.abc", DECLARED + "x"])
def test_what_proves_nothing_is_turned_away(shown: str) -> None:
    """One error for all of it, and the secret stands nowhere in it."""
    with pytest.raises(AuthenticationError) as caught:
        Callers(Known()).identify(bearer(shown) if shown else {}, KEYS, NOW)
    assert caught.value.status == 401
    assert not shown or shown not in caught.value.message


def test_keys_of_both_kinds_are_found() -> None:
    """Declared ones win; each is looked up by its id again for its budgets."""
    callers = Callers(Known(grant(MADE), grant(DECLARED, revoked_at=0.0)))
    for shown in (DECLARED, MADE):
        caller = callers.identify(bearer(shown), KEYS, NOW)
        found = callers.grant_of(caller, KEYS)
        assert found is not None
        assert found.id == caller.key
    assert callers.grant_of(NOBODY, KEYS) is None


def test_a_key_is_looked_up_once_for_a_request() -> None:
    """What was found to identify a caller is known for its budgets; the next request finds what the key has become."""
    known = Known(grant(MADE))
    callers = Callers(known)
    first = callers.identify(bearer(MADE), KEYS, NOW)
    before, known.grants["made"] = known.grants["made"], grant(MADE, team="t")
    assert callers.grant_of(first, KEYS) is before
    second = callers.identify(bearer(MADE), KEYS, NOW)
    assert callers.grant_of(second, KEYS) is known.grants["made"]
    known.grants.clear()
    with pytest.raises(AuthenticationError):
        callers.identify(bearer(MADE), KEYS, NOW)


def test_raises_are_looked_up_every_so_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that come close together share one look; what was raised holds soon after."""
    known, clock = Known(), 100.0
    monkeypatch.setattr("router_extproc.extproc.callers.time.monotonic", lambda: clock)
    callers = Callers(known)
    assert callers.raises() == {"b": (Raise(5, 2_000.0),)}
    known.is_broken = True
    assert callers.raises() == {"b": (Raise(5, 2_000.0),)}
    clock += 0.1
    assert callers.raises() == {}
    known.is_broken = False
    clock += 0.1
    assert callers.raises() == {"b": (Raise(5, 2_000.0),)}


def test_keys_that_were_lost_open_no_door() -> None:
    """Where keys were made once, and their file is another or gone, nobody is let in without one; declared keys go on."""
    were_made = False
    callers = Callers(Known(), lambda: were_made)
    assert callers.mode(Spending()) == "none"
    were_made = True
    callers.refresh()
    for shown in ({}, bearer(MADE)):
        with pytest.raises(AuthenticationError):
            callers.identify(shown, Spending(), NOW)
    assert callers.identify(bearer(DECLARED), KEYS, NOW).key == "declared"


def test_keys_that_nobody_told_yet_open_no_door() -> None:
    """A new instance whose shared store was never reached does not know who may call: it sends all away for a moment, but for
    declared keys, and who shows none where one is asked for.
    """
    known = Known()
    known.is_told = False
    callers = Callers(known)
    shared = Spending(store=StoreSettings(kind="redis"))
    asking = replace(shared, keys=KEYS.keys, auth=AuthSettings(mode="keys"))
    for headers, spending in (({}, shared), (bearer("anything"), shared), (bearer(MADE), shared), (bearer(MADE), asking)):
        with pytest.raises(UnavailableError) as caught:
            callers.identify(headers, spending, NOW)
        assert (caught.value.status, caught.value.code) == (503, "keys_unavailable")
    with pytest.raises(AuthenticationError):
        callers.identify({}, asking, NOW)
    assert callers.identify(bearer(DECLARED), asking, NOW).key == "declared"
    assert callers.identify({}, replace(shared, auth=AuthSettings(mode="none")), NOW) is NOBODY
    known.is_told = True
    assert callers.identify({}, shared, NOW) is NOBODY
    with pytest.raises(AuthenticationError):
        callers.identify(bearer(MADE), asking, NOW)


def test_keys_that_cannot_be_read_open_no_door() -> None:
    """Whoever may hold a key is asked to come back; declared keys go on, and nobody gets a raise."""
    callers = Callers(Known(is_broken=True))
    assert callers.mode(Spending()) == "keys"
    with pytest.raises(UnavailableError) as caught:
        callers.identify(bearer(MADE), KEYS, NOW)
    assert (caught.value.status, caught.value.retry_after) == (503, 1)
    assert callers.identify(bearer(DECLARED), KEYS, NOW).key == "declared"
    assert callers.raises() == {}


def token(claims: Any) -> dict[str, str]:
    return {TOKEN_HEADER: base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")}


JWT = Spending(auth=AuthSettings(mode="jwt", jwt=Jwt(tenant="org.name", tags={"app": "azp"})))


def test_a_verified_token_names_the_caller() -> None:
    """By the claims that the configuration maps."""
    caller = Callers(Known()).identify(token({"org": {"name": "acme"}, "sub": "ann", "azp": "web"}), JWT, NOW)
    assert (caller.tenant, caller.user, caller.tags) == ("acme", "ann", {"app": "web"})


@pytest.mark.parametrize(
    "headers", [{}, {TOKEN_HEADER: ""}, {TOKEN_HEADER: "%%%"}, {TOKEN_HEADER: "bm9wZQ"}, token([]), token({})]
)
def test_without_a_verified_token_there_is_no_caller(headers: dict[str, str]) -> None:
    """A key does not help either."""
    with pytest.raises(AuthenticationError):
        Callers(Known()).identify(headers | bearer(DECLARED), JWT, NOW)


MESH = Spending(auth=AuthSettings(mode="mesh", mesh=Mesh({"spiffe://mesh/ns/shop/*": "shop"})))


def test_a_peer_is_known_by_its_certificate() -> None:
    """Any of the names in it that a tenant belongs to."""
    names = "spiffe://elsewhere/x,spiffe://mesh/ns/shop/sa/web"
    assert Callers(Known()).identify({PEER_HEADER: names}, MESH, NOW).tenant == "shop"
    with pytest.raises(AuthenticationError):
        Callers(Known()).identify({PEER_HEADER: "spiffe://elsewhere/x"}, MESH, NOW)
    with pytest.raises(AuthenticationError):
        Callers(Known()).identify({}, MESH, NOW)


CLAIMS = {"x-router-tenant": "rich", "x-router-user": "ann", "x-router-tags": "app=web"}


def test_what_a_client_says_about_itself_counts_only_where_it_is_trusted() -> None:
    """Elsewhere it is as if it had said nothing; a proved tenant stays in either case."""
    callers = Callers(Known())
    assert callers.identify(CLAIMS, Spending(), NOW) is NOBODY
    trusted = Spending(auth=AuthSettings(mode="none", trusted=True), tenants={"rich": Tenant(tier="gold")})
    assert callers.identify(CLAIMS, trusted, NOW) == Caller(tenant="rich", user="ann", tier="gold", tags={"app": "web"})
    proved = callers.identify(bearer(DECLARED) | CLAIMS, Spending(keys=KEYS.keys, auth=AuthSettings(trusted=True)), NOW)
    assert (proved.tenant, proved.user) == ("acme", "ann")


def test_errors_have_a_status_that_clients_know() -> None:
    """Nobody gets an exception of our own making."""
    for headers in ({}, bearer("x" * 10_000), {"authorization": "Basic x"}, {"api-key": "\udcff"}):
        with pytest.raises(RequestError):
            Callers(Known()).identify(headers, KEYS, NOW)
