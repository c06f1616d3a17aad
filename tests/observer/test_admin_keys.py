"""Keys and the audit log over HTTP: made, shown once, rotated, revoked, and nothing of them anywhere else."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from router_extproc.limits.identity import proves
from router_extproc.registry.spending import AuthMode, AuthSettings, KeyGrant, Spending
from router_extproc.store.identities import IdentityReader
from tests.observer.desks import NOW, Office
from tests.observer.entries import REGISTRY

HOUR = 3_600


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    opened = await Office(tmp_path).open()
    yield opened
    await opened.close()


@pytest.fixture
def client(office: Office) -> httpx.AsyncClient:
    return office.client()


async def create(client: httpx.AsyncClient, **described: Any) -> dict[str, Any]:
    response = await client.post("/keys", json={"tenant": "acme", **described})
    assert response.status_code == 201, response.text
    return dict(response.json())


async def grant_of(office: Office, key_id: str) -> KeyGrant:
    grant = await office.identities.find(key_id)
    assert grant is not None
    return grant


async def test_a_key_is_made_and_shown_once(office: Office, client: httpx.AsyncClient) -> None:
    """The answer has the key, which proves its grant; no later answer and no file has it."""
    made = await create(client, team="search", budgets={"day": {"usd": "5.5", "window": "day"}})
    assert re.fullmatch(r"[a-z0-9]{16}", made["id"])
    assert re.fullmatch(rf"sk-router-{made['id']}\.[A-Za-z0-9_-]{{43}}", made["key"])
    assert made["budgets"] == [
        {
            "name": f"key:{made['id']}:day",
            "scope": f"key={made['id']}",
            "unit": "usd",
            "window": "day",
            "mode": "enforce",
            "cap_usd": "5.500000",
        }
    ]
    grant = await grant_of(office, made["id"])
    assert proves(grant, made["key"], NOW)
    assert (grant.tenant, grant.team) == ("acme", "search")
    secret = made["key"].partition(".")[2]
    [shown] = (await client.get("/keys")).json()["keys"]
    assert (shown["id"], shown["state"], shown["source"], shown["team"]) == (made["id"], "active", "api", "search")
    audit = (await client.get("/audit")).text
    assert secret not in audit + str(shown)
    assert all(secret.encode() not in path.read_bytes() for path in office.folder.iterdir())


@pytest.mark.parametrize(("mode", "is_noticed"), [(None, False), ("keys", False), ("jwt", True), ("none", True)])
async def test_a_key_that_nobody_is_asked_for_is_noticed(
    office: Office, client: httpx.AsyncClient, *, mode: AuthMode | None, is_noticed: bool
) -> None:
    """It is made, since the mode may be about to change, but not in silence."""
    office.registry = replace(office.registry, spending=Spending(auth=AuthSettings(mode=mode)))
    made = (await client.post("/keys", json={"tenant": "t"})).json()
    assert ("notice" in made) == is_noticed


async def test_the_first_key_leaves_a_flag(office: Office, client: httpx.AsyncClient) -> None:
    """From then on requests that no worker decided are refused, whoever restarts."""
    assert not office.state.keys_exist.exists()
    await create(client)
    assert office.state.keys_exist.exists()


async def test_other_processes_see_a_change_at_once(office: Office, client: httpx.AsyncClient) -> None:
    """A worker's next look-up finds the key, and then that it is revoked."""
    worker = IdentityReader(office.state.identities)
    made = await create(client)
    found = worker.find(made["id"])
    assert found is not None
    assert proves(found, made["key"], NOW)
    await client.post(f"/keys/{made['id']}/revoke", json={})
    found = worker.find(made["id"])
    assert found is not None
    assert not proves(found, made["key"], NOW)
    worker.close()


async def test_everything_that_a_file_may_say_of_a_key(office: Office, client: httpx.AsyncClient) -> None:
    """The words are those of router.yaml."""
    made = await create(
        client,
        user="u",
        tags={"app": "chat"},
        tier="gold",
        features=["beta"],
        priority="batch",
        expires="30d",
        permissions={"models": ["gpt-4o", "gpt-*"], "tiers": ["premium"], "max_output_tokens": 100},
        budgets={"steps": {"iterations": 5, "per": "session", "mode": "observe"}},
    )
    [shown] = (await client.get("/keys", params={"tenant": "acme"})).json()["keys"]
    assert shown["permissions"] == {"models": ["gpt-4o", "gpt-*"], "tiers": ["premium"], "max_output_tokens": 100}
    assert (shown["tags"], shown["tier"], shown["features"], shown["priority"]) == ({"app": "chat"}, "gold", ["beta"], "batch")
    assert shown["expires_at"] == made["expires_at"] == "2026-03-31T12:00:00Z"
    assert shown["budgets"][0]["cap"] == 5
    assert (await client.get("/keys", params={"tenant": "other"})).json()["keys"] == []
    office.now = NOW + 31 * 24 * HOUR
    assert (await client.get("/keys")).json()["keys"][0]["state"] == "expired"


@pytest.mark.parametrize(
    ("described", "complaint"),
    [
        ({"tenant": ""}, "tenant:"),
        ({"tenant": "a b"}, "tenant: `a b` is not a name (letters, digits and"),
        ({"tenant": "t", "tags": {"a b": "c"}}, "tags.a b: `a b` is not a name (letters, digits and . _ - only"),
        ({"tenant": "t", "permissions": {"tiers": ["econmy"]}}, "permissions.tiers[0]: `econmy` is not one of"),
        (
            {"tenant": "t", "permissions": {"max_output_tokens": -1}},
            "permissions.max_output_tokens: expected a number at least 1",
        ),
        ({"tenant": "t", "budgets": {"b": {"max_budget": 1}}}, "budgets.b.max_budget: unknown key (here it is called `usd`)"),
        ({"tenant": "t", "priority": "batsch"}, "priority: `batsch` is not one of interactive, batch (did you mean `batch`?)"),
        ({"tenant": "t", "digest": "sha256:00:00"}, "digest: unknown key"),
        ({"tenant": "t", "revoked": True}, "revoked: unknown key"),
        ({"tenant": "t", "nonsense": 1}, "nonsense: unknown key"),
        ({"tenant": "sk-router-ci.s3cret"}, "tenant: this is a key"),
        ({"tenant": "t", "user": "Bearer sk-router-ci.s3cret"}, "user: this is a key"),
        ({"tenant": "t", "expires": "soon"}, "expires:"),
        ({"tenant": "t", "expires": "0s"}, "expires: 0s is no usable duration (write something between 1ms and ten years)"),
        ({"tenant": "t", "expires": "99999d"}, "expires: 99999d is no usable duration"),
        ({"tenant": "t", "expires": ["1d"]}, "expires:"),
        ({"tenant": "t", "expires": "2020-01-01"}, "expires: that is over already"),
        ({"tenant": "t", "budgets": {"b": {"usd": -1}}}, "budgets.b.usd: an amount cannot be negative"),
        ({"tenant": "t", "budgets": {"b": {"usd": "NaN"}}}, "budgets.b.usd:"),
        ({"tenant": "t", "budgets": {"b": {"usd": 1, "tokens": 1}}}, "exactly one of"),
        ({"tenant": "t", "budgets": {"b": {"usd": 1, "match": {"tenant": "u"}}}}, "the budget `b` would never count"),
        ({"tenant": "t", "permissions": {"models": ["gpt-5"]}}, "permissions.models: there is no model gpt-5"),
        ({"tenant": "t", "permissions": {"routes": ["nowhere"]}}, "permissions.routes: there is no route nowhere"),
        ({"tenant": "t", "permissions": {"regions": ["moon"]}}, "permissions.regions: there is no region moon"),
        ({}, "tenant: is missing (for example `tenant: search`)"),
    ],
)
async def test_a_wrong_description_says_where(client: httpx.AsyncClient, described: dict[str, Any], complaint: str) -> None:
    """Nothing is made."""
    response = await client.post("/keys", json=described)
    assert response.status_code == 400
    assert complaint in response.json()["error"]["message"]
    assert "s3cret" not in response.text
    assert (await client.get("/keys")).json()["keys"] == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'"x"', b"null", b" " * (2 << 20)])
async def test_a_body_that_is_none(client: httpx.AsyncClient, body: bytes) -> None:
    """A clear refusal."""
    assert (await client.post("/keys", content=body, headers={"content-type": "application/json"})).status_code == 400


async def test_rotation_lets_the_old_secret_go_on_for_a_while(office: Office, client: httpx.AsyncClient) -> None:
    """Both are accepted during the overlap, then the new one alone."""
    made = await create(client)
    rotated = (await client.post(f"/keys/{made['id']}/rotate", json={"overlap": "1h"})).json()
    assert (rotated["id"], rotated["previous_valid_until"]) == (made["id"], "2026-03-01T13:00:00Z")
    assert rotated["key"] != made["key"]
    grant = await grant_of(office, made["id"])
    for moment, old, new in ((NOW, True, True), (NOW + HOUR - 1, True, True), (NOW + HOUR, False, True)):
        assert (proves(grant, made["key"], moment), proves(grant, rotated["key"], moment)) == (old, new)


async def test_rotation_without_overlap_and_again(office: Office, client: httpx.AsyncClient) -> None:
    """Without overlap the old secret ends now; no rotation gives an older one more time than it had."""
    made = await create(client)
    first = (await client.post(f"/keys/{made['id']}/rotate", json={"overlap": "1h"})).json()
    second = (await client.post(f"/keys/{made['id']}/rotate", json={"overlap": "2h"})).json()
    grant = await grant_of(office, made["id"])
    assert not proves(grant, made["key"], NOW + HOUR)
    assert proves(grant, first["key"], NOW + HOUR)
    third = (await client.post(f"/keys/{made['id']}/rotate", json={})).json()
    grant = await grant_of(office, made["id"])
    assert [proves(grant, each["key"], NOW) for each in (made, first, second, third)] == [False, False, False, True]


@pytest.mark.parametrize("overlap", ["soon", -1, [], "1000000h"])
async def test_an_overlap_that_is_none(client: httpx.AsyncClient, overlap: Any) -> None:
    """Told, and nothing is changed."""
    made = await create(client)
    assert (await client.post(f"/keys/{made['id']}/rotate", json={"overlap": overlap})).status_code == 400
    assert len((await client.get("/audit")).json()["entries"]) == 1


async def test_what_is_over_is_not_rotated_and_revoking_twice_is_once(office: Office, client: httpx.AsyncClient) -> None:
    """A revoked key stays revoked since the first time; the audit log says it once."""
    made = await create(client)
    first = (await client.post(f"/keys/{made['id']}/revoke", json={})).json()
    office.now += 60
    second = (await client.post(f"/keys/{made['id']}/revoke", json={})).json()
    assert (first["state"], first["revoked_at"]) == ("revoked", second["revoked_at"])
    assert (await client.post(f"/keys/{made['id']}/rotate", json={})).status_code == 409
    assert [entry["action"] for entry in (await client.get("/audit")).json()["entries"]] == ["key.revoke", "key.create"]


@pytest.mark.parametrize("order", [("revoke", "rotate"), ("rotate", "revoke")])
async def test_no_rotation_undoes_a_revocation(office: Office, client: httpx.AsyncClient, order: tuple[str, str]) -> None:
    """A key that is revoked while somebody rotates it is revoked, whichever comes first."""
    for _ in range(10):
        key_id = (await create(client))["id"]
        answers = await asyncio.gather(*(client.post(f"/keys/{key_id}/{action}", json={}) for action in order))
        told = dict(zip(order, (answer.status_code for answer in answers), strict=True))
        assert told["revoke"] == 200
        assert told["rotate"] in {200, 409}
        assert (await grant_of(office, key_id)).revoked_at == NOW


async def test_of_two_rotations_at_once_none_is_lost(office: Office, client: httpx.AsyncClient) -> None:
    """Every secret that was shown is accepted, as if one rotation had come after the other."""
    for _ in range(10):
        made = await create(client)
        path = f"/keys/{made['id']}/rotate"
        answers = await asyncio.gather(*(client.post(path, json={"overlap": "1h"}) for _ in range(3)))
        grant = await grant_of(office, made["id"])
        shown = [made["key"], *(answer.json()["key"] for answer in answers)]
        assert [proves(grant, each, NOW) for each in shown] == [True] * 4


async def test_unknown_and_declared_keys(office: Office, client: httpx.AsyncClient) -> None:
    """What is not there is not found; what the file declares is shown here and changed there."""
    office.registry = replace(REGISTRY, spending=Spending(keys={"ci": KeyGrant("ci", "acme", ())}))
    for action in ("rotate", "revoke"):
        assert (await client.post(f"/keys/nobody/{action}", json={})).status_code == 404
        refused = await client.post(f"/keys/ci/{action}", json={})
        assert (refused.status_code, "router.yaml" in refused.text) == (409, True)
    await create(client)
    assert [key["source"] for key in (await client.get("/keys")).json()["keys"]] == ["file", "api"]
    assert len((await client.get("/keys", params={"tenant": "acme"})).json()["keys"]) == 2


async def test_long_lists_are_read_page_by_page(client: httpx.AsyncClient) -> None:
    """Each key once, and each audit entry."""
    made = [(await create(client))["id"] for _ in range(5)]
    seen, after = [], ""
    while after is not None:
        page = (await client.get("/keys", params={"limit": 2, "after": after})).json()
        seen += [key["id"] for key in page["keys"]]
        after = page["next"]
    assert seen == sorted(made)
    entries: list[str] = []
    before: dict[str, int] = {}
    while True:
        page = (await client.get("/audit", params={"limit": 2, **before})).json()
        entries += [entry["subject"] for entry in page["entries"]]
        if page["next"] is None:
            break
        before = {"before": page["next"]}
    assert entries == made[::-1]
    assert (await client.get("/keys", params={"limit": 0})).status_code == 400
    assert (await client.get("/audit", params={"before": "x"})).status_code == 400


async def test_every_change_is_in_the_audit_log(office: Office, client: httpx.AsyncClient) -> None:
    """Who, when, what, and to which key; by whom as far as it was proved."""
    made = await create(client, permissions={"models": ["gpt-4o"]}, budgets={"b": {"usd": 1}})
    office.token = "the-token"  # noqa: S105 - nobody's
    await office.client("203.0.113.9").post(
        f"/keys/{made['id']}/rotate", json={"overlap": "60s"}, headers={"authorization": "Bearer the-token"}
    )
    await client.post(f"/keys/{made['id']}/revoke", json={})
    entries = (await client.get("/audit")).json()["entries"][::-1]
    assert [(entry["action"], entry["actor"], entry["subject"]) for entry in entries] == [
        ("key.create", "local", made["id"]),
        ("key.rotate", "token", made["id"]),
        ("key.revoke", "local", made["id"]),
    ]
    assert entries[0]["detail"] == {"tenant": "acme", "models": "gpt-4o", "budgets": f"key:{made['id']}:b"}
    assert entries[1]["detail"] == {"tenant": "acme", "overlap": "60s"}
    assert entries[0]["at"] == "2026-03-01T12:00:00Z"


async def test_the_audit_log_tells_all_that_a_key_may(client: httpx.AsyncClient) -> None:
    """Whatever was allowed or denied to it can be read there, an empty list too."""
    await create(
        client,
        tags={"app": "chat"},
        priority="batch",
        features=["beta"],
        tier="gold",
        permissions={"models": [], "routes": ["auto"], "max_output_tokens": 100, "max_context_tokens": 50},
    )
    [entry] = (await client.get("/audit")).json()["entries"]
    assert entry["detail"] == {
        "tenant": "acme",
        "tags": "app=chat",
        "priority": "batch",
        "features": "beta",
        "tier": "gold",
        "models": "none",
        "routes": "auto",
        "max_output_tokens": "100",
        "max_context_tokens": "50",
    }
