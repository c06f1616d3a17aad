"""Identity: what proves a caller, and what proves nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from router_extproc.caller import BATCH, NOBODY, Caller, Permissions
from router_extproc.errors import AuthenticationError
from router_extproc.limits.identity import (
    bearer_of,
    believed,
    caller_of_claims,
    caller_of_key,
    caller_of_peer,
    digest_of,
    is_digest_of,
    key_id,
    proves,
)
from router_extproc.registry.spending import Jwt, KeyGrant, Mesh, Tenant

KEY = "sk-router-abcdefghij012345.s3cret-S3CRET_s3cret-S3CRET_s3cret-S3CRET_s"
SALT = bytes(range(16))
NOW = 1_000.0


def grant(**more: Any) -> KeyGrant:
    return KeyGrant(**{"id": "abcdefghij012345", "tenant": "acme", "digests": ((digest_of(KEY, SALT), None),)} | more)


@pytest.mark.parametrize(
    ("headers", "shown"),
    [
        ({"authorization": "Bearer abc"}, "abc"),
        ({"authorization": "bearer  abc "}, "abc"),
        ({"api-key": "abc"}, "abc"),
        ({"x-api-key": "abc"}, "abc"),
        ({"authorization": "Bearer one", "api-key": "two"}, "one"),
        ({"authorization": "Basic abc", "x-api-key": "two"}, "two"),
        ({"authorization": "Bearer "}, None),
        ({"authorization": "abc"}, None),
        ({}, None),
    ],
)
def test_a_key_is_shown_in_one_of_three_headers(headers: dict[str, str], shown: str | None) -> None:
    """OpenAI's header comes first, then those of Azure and Anthropic; another scheme shows no key."""
    assert bearer_of(headers) == shown


@pytest.mark.parametrize(
    ("shown", "name"),
    [
        (KEY, "abcdefghij012345"),
        ("sk-router-My_key-1.x", "My_key-1"),
        ("sk-router-.x", None),
        ("sk-router-a.", None),
        ("sk-router-a", None),
        ("sk-a.b", None),
        ("sk-router-a b.c", None),
        ("sk-router-a.b c", None),
        ("sk-router-" + "a" * 61 + ".x", None),
        ("sk-router-a." + "x" * 600, None),
        ("sk-router-a.x\n", None),
        ("", None),
    ],
)
def test_the_id_stands_before_the_secret(shown: str, name: str | None) -> None:
    """Only keys of our form have an id; anything else is looked up nowhere."""
    assert key_id(shown) == name


@given(st.text(), st.text(), st.binary(min_size=1, max_size=32))
def test_a_digest_is_that_of_one_text(shown: str, other: str, salt: bytes) -> None:
    """A digest is recognised by the text it was made of, with its salt, and by no other; it does not hold the text."""
    if any("\ud800" <= character <= "\udfff" for character in shown + other):
        return
    digest = digest_of(shown, salt)
    assert is_digest_of(digest, shown)
    assert is_digest_of(digest, other) == (shown == other)
    assert digest_of(shown, salt + b"x") != digest


@pytest.mark.parametrize(
    "digest", ["", "sha256:", "sha256::00", "sha256:0g:" + "0" * 64, "md5:00:" + "0" * 64, "sha256:00:" + "0" * 63]
)
def test_a_malformed_digest_is_nobodys(digest: str) -> None:
    """What is no digest lets nobody in and raises nothing."""
    assert not is_digest_of(digest, KEY)
    assert not is_digest_of(digest, "")


@pytest.mark.parametrize(
    ("more", "holds"),
    [
        ({}, True),
        ({"expires_at": NOW}, False),
        ({"expires_at": NOW + 1}, True),
        ({"revoked_at": NOW}, False),
        ({"revoked_at": NOW + 1}, True),
        ({"digests": ()}, False),
        ({"digests": ((digest_of(KEY, SALT), NOW),)}, False),
        ({"digests": ((digest_of(KEY, SALT), NOW + 1),)}, True),
        ({"digests": ((digest_of("other", SALT), None), (digest_of(KEY, SALT), NOW + 1))}, True),
    ],
)
def test_a_key_proves_while_it_holds(more: dict[str, Any], holds: bool) -> None:  # noqa: FBT001 - the expectation
    """Expired, revoked and rotated keys prove nothing from their very second on; during a rotation both keys do."""
    assert proves(grant(**more), KEY, NOW) is holds
    assert not proves(grant(**more), KEY + "x", NOW)


def test_a_caller_is_what_key_and_tenant_say_together() -> None:
    """The key's own words come before the tenant's, features and tags add up, and permissions are the narrower of both."""
    tenants = {
        "acme": Tenant(
            Permissions(models=("gpt-*",), max_output_tokens=500), "gold", ("beta",), {"app": "a", "unit": "u"}, BATCH
        )
    }
    own = grant(team="ads", tags={"app": "b"}, features=("new", "beta"), permissions=Permissions(models=("gpt-4o", "claude")))
    assert caller_of_key(KEY, own, tenants, NOW) == Caller(
        tenant="acme",
        team="ads",
        key="abcdefghij012345",
        tier="gold",
        features=("beta", "new"),
        tags={"app": "b", "unit": "u"},
        priority=BATCH,
        permissions=Permissions(models=("gpt-4o",), max_output_tokens=500),
    )
    assert caller_of_key(KEY, grant(priority="interactive", tier="tin"), tenants, NOW).priority == "interactive"
    assert caller_of_key(KEY, grant(tenant="new"), tenants, NOW) == Caller(tenant="new", key="abcdefghij012345")


def test_who_is_refused_learns_nothing() -> None:
    """Unknown, wrong, expired and revoked keys get the same words, and no error repeats a key."""
    cases = [(None, KEY), (grant(), KEY + "x"), (grant(expires_at=1), KEY), (grant(revoked_at=1), KEY)]
    messages = set()
    for known, shown in cases:
        with pytest.raises(AuthenticationError) as refused:
            caller_of_key(shown, known, {}, NOW)
        assert (refused.value.status, refused.value.code) == (401, "invalid_api_key")
        messages.add(refused.value.message)
    assert len(messages) == 1
    assert "s3cret" not in messages.pop()
    with pytest.raises(AuthenticationError, match="did not provide"):
        caller_of_key(None, grant(), {}, NOW)


def test_claims_of_a_token_name_the_caller() -> None:
    """Claims are found by name or along dots; numbers are names, lists and flags are none."""
    jwt = Jwt("org.tenant", "sub", "https://x.y/team", {"app": "azp", "admin": "is_admin", "level": "level"})
    claims = {
        "sub": "ann",
        "org": {"tenant": "acme"},
        "https://x.y/team": "ads",
        "azp": ["a"],
        "is_admin": True,
        "level": 7,
    }
    caller = caller_of_claims(claims, jwt, {"acme": Tenant(tier="gold", tags={"unit": "u"})})
    assert caller == Caller(tenant="acme", user="ann", team="ads", tier="gold", tags={"unit": "u", "level": "7"})


@pytest.mark.parametrize(
    "claims", [{}, {"tenant": ""}, {"tenant": None}, {"tenant": ["acme"]}, {"tenant": True}, {"tenant": {"a": 1}}]
)
def test_a_token_without_a_tenant_is_nobodys(claims: dict[str, Any]) -> None:
    """A token that names no tenant proves no caller."""
    with pytest.raises(AuthenticationError):
        caller_of_claims(claims, Jwt(), {})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_no_claim_breaks_the_reading(value: Any) -> None:
    """Whatever a token holds, there is a caller or a refusal, and names are printable and bounded."""
    try:
        caller = caller_of_claims({"tenant": value, "sub": value}, Jwt(), {})
    except AuthenticationError:
        return
    assert caller.tenant.isprintable()
    assert len(caller.user) <= 256


@given(st.text(max_size=400), st.text(max_size=400))
def test_two_names_in_tokens_stay_two(one: str, other: str) -> None:
    """Whoever can choose a part of its name becomes nobody else by it, be it by letters that are not seen or by its length."""
    for start in ("", "a" * 300):
        names = (start + one, start + other)
        assume(all(name.strip() for name in names))
        found = [caller_of_claims({"tenant": name, "sub": name}, Jwt(), {}) for name in names]
        assert (found[0].tenant == found[1].tenant) == (names[0].strip() == names[1].strip())
        assert (found[0].user == found[1].user) == (names[0].strip() == names[1].strip())


def test_a_name_that_only_looks_like_a_tenants_is_another() -> None:
    """It has neither the tenant's class nor its permissions."""
    caller = caller_of_claims({"tenant": "ac\u200bme"}, Jwt(), {"acme": Tenant(tier="gold")})
    assert (caller.tenant.startswith("acme~"), caller.tier) == (True, "")
    assert believed(NOBODY, {"x-router-tenant": "ac\u200bme"}, {"acme": Tenant(tier="gold")}).tier == ""


@pytest.mark.parametrize(
    ("peer", "tenant"),
    [
        ("spiffe://mesh/ns/shop/sa/web", "shop"),
        ("spiffe://mesh/ns/shop/sa/job", "jobs"),
        ("spiffe://mesh/ns/other", "everybody"),
        ("spiffe://elsewhere/x, spiffe://mesh/ns/shop/sa/web", "shop"),
    ],
)
def test_a_certificates_name_leads_to_a_tenant(peer: str, tenant: str) -> None:
    """An exact name comes before prefixes, a longer prefix before a shorter one."""
    mesh = Mesh({"spiffe://mesh/*": "everybody", "spiffe://mesh/ns/shop/*": "shop", "spiffe://mesh/ns/shop/sa/job": "jobs"})
    caller = caller_of_peer(peer, mesh, {"shop": Tenant(tier="gold")})
    assert caller.tenant == tenant
    assert caller.user.startswith("spiffe://mesh/")
    assert caller.tier == ("gold" if tenant == "shop" else "")


@pytest.mark.parametrize("peer", ["", ",", "spiffe://elsewhere/x", "spiffe://mesh"])
def test_an_unknown_certificate_is_nobodys(peer: str) -> None:
    """A verified certificate whose name stands for no tenant is refused."""
    with pytest.raises(AuthenticationError):
        caller_of_peer(peer, Mesh({"spiffe://mesh/*": "m"}), {})


def test_claims_in_headers_are_believed_where_the_listener_is_trusted() -> None:
    """A trusted client names tenant, team, user and tags; what was proved about the tenant stays, and so do its permissions."""
    headers = {"x-router-tenant": "acme", "x-router-team": "ads", "x-router-user": "ann", "x-router-tags": "app=shop, =x,y, z="}
    tenants = {"acme": Tenant(Permissions(tiers=("economy",)))}
    caller = believed(NOBODY, headers, tenants)
    assert (caller.tenant, caller.team, caller.user, caller.tags) == ("acme", "ads", "ann", {"app": "shop", "z": ""})
    assert caller.permissions == Permissions(tiers=("economy",))
    proved = Caller(tenant="umbrella", user="bob", permissions=Permissions(routes=("auto",)))
    claimed = believed(proved, headers, tenants)
    assert (claimed.tenant, claimed.user, claimed.permissions) == ("umbrella", "ann", Permissions(routes=("auto",)))
    assert believed(proved, {}, tenants) == proved
