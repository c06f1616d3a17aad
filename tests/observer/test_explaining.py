"""What would become of a request, over HTTP: for whom it is asked, and for those who may ask; with the router that explains."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace
from starlette.applications import Starlette

from router_extproc.analysis.classifier import NOTHING_LEARNED, Classifier
from router_extproc.caller import Permissions
from router_extproc.limits.identity import digest_of
from router_extproc.observer.explaining import CurrentRouter, explain_route
from router_extproc.registry.health import DeploymentHealth
from router_extproc.registry.snapshot import Registry
from router_extproc.registry.spending import Budget, KeyGrant, Spending, Tenant, Window
from router_extproc.router import Router
from router_extproc.store.counters import Hold, Level, Query, StoreUnavailableError
from router_extproc.store.identities import AuditEntry
from tests.observer.desks import NOW, Office
from tests.observer.entries import REGISTRY

MARCH = 1_772_323_200  # 2026-03-01T00:00:00Z
LATER = 1_776_000_000


def test_the_classifier_is_loaded_for_the_first_explanation_and_kept() -> None:
    """Starting costs nothing; another configuration makes another router with the same classifier."""
    loaded: list[Classifier] = []

    def load() -> Classifier:
        loaded.append(Classifier())
        return loaded[-1]

    current = CurrentRouter(load)
    current.know(Registry(revision="first"))
    assert not loaded
    first = current()
    assert current() is first
    current.know(Registry(revision="second"))
    second = current()
    assert (first.registry.revision, second.registry.revision, len(loaded)) == ("first", "second", 1)
    assert second.analyser.classifier is first.analyser.classifier is loaded[0]


def test_questions_at_once_share_one_router() -> None:
    """Threads that ask while the first router is made get that one."""
    current = CurrentRouter(Classifier)
    with ThreadPoolExecutor(8) as threads:
        routers = {id(router) for router in threads.map(lambda _: current(), range(64))}
    assert len(routers) == 1


def test_without_its_files_the_rest_is_explained(caplog: pytest.LogCaptureFixture) -> None:
    """A classifier that cannot be loaded is reported once, and decisions are those of a worker without one."""

    def load() -> Classifier:
        raise OSError("no such file")

    current = CurrentRouter(load)
    with caplog.at_level(logging.ERROR):
        assert current().analyser.classifier is NOTHING_LEARNED
        current.know(Registry(revision="second"))
        assert current().registry.revision == "second"
    assert len(caplog.records) == 1


KEYS = {
    "ci": KeyGrant("ci", "acme", digests=((digest_of("sk-router-ci.right", b"salt"), None),), team="build"),
    "narrow": KeyGrant("narrow", "acme", digests=(), permissions=Permissions(tiers=("economy",))),
}
EACH = Budget("each", "usd", 10_000_000, Window(calendar="month"), per=("tenant",))
SPENDING = Spending(budgets=(EACH,), keys=KEYS, tenants={"acme": Tenant(tier="gold")})
HELLO = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    opened = await Office(tmp_path, replace(REGISTRY, spending=SPENDING)).open()
    cooling = {"azure/gpt-4o": DeploymentHealth(state="open", open_until=9e9)}
    route = explain_route(opened.desk, lambda: Router(opened.registry), lambda: cooling, lambda: {"gpt-4o": 1.25})
    opened.app = Starlette(routes=[route])
    yield opened
    await opened.close()


@pytest.fixture
def client(office: Office) -> httpx.AsyncClient:
    return office.client()


async def shown(client: httpx.AsyncClient, headers: Mapping[str, str] | None = None, **query: str) -> dict[str, Any]:
    answer = await client.post("/explain", json=HELLO, params=query, headers=headers)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_a_request_is_explained_for_the_health_of_now(client: httpx.AsyncClient) -> None:
    """The cooling deployment stays behind the healthy one; nobody in particular asks."""
    found = await shown(client)
    assert found["decision"]["chain"][0]["deployment"] == "openai/gpt-4o"
    assert {one["deployment"] for one in found["candidates"] if one["rejected"]} == {"azure/gpt-4o"}
    assert found["caller"] is None


async def test_budgets_of_a_tenant_are_shown_as_full_as_they_are(office: Office, client: httpx.AsyncClient) -> None:
    """What is settled and set aside, what the request wants of it, and what would follow."""
    empty = (await shown(client, tenant="acme"))["admission"]
    held = Hold("usd:each|tenant=acme", MARCH, MARCH, 9_999_999, 10**12, "enforce", LATER)
    await office.counters.reserve("another request", [held], NOW + 600, NOW)
    full = (await shown(client, tenant="acme"))["admission"]
    assert [(one["name"], one["scope"], one["reserved"]) for one in empty["budgets"]] == [("each", "tenant=acme", "0.000000")]
    assert (empty["levels_known"], empty["refusal"]) == (True, None)
    assert full["budgets"][0]["reserved"] == "9.999999"
    assert (full["refusal"]["status"], full["refusal"]["code"]) == (429, "budget_exceeded")
    other = await shown(client, tenant="globex")
    assert other["admission"]["refusal"] is None


async def test_a_key_is_named_or_shown(client: httpx.AsyncClient) -> None:
    """By its id or by its proof it is the same caller, with what the tenant adds; what proves nothing is refused."""
    named = await shown(client, key="ci")
    proved = await shown(client, {"authorization": "Bearer sk-router-ci.right"})
    assert named["caller"] == proved["caller"]
    assert (named["caller"]["tenant"], named["caller"]["team"], named["caller"]["tier"]) == ("acme", "build", "gold")
    wrong = await client.post("/explain", json=HELLO, headers={"authorization": "Bearer sk-router-ci.wrong"})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (401, "invalid_api_key")


async def test_permissions_decide(client: httpx.AsyncClient) -> None:
    """What the caller may use is shown, and what it may not is refused with the client's own error."""
    found = await shown(client, key="narrow")
    assert found["caller"]["permissions"]["tiers"] == ["economy"]
    assert found["refusal"]["status"] == 403


async def test_keys_made_at_run_time_are_known(office: Office, client: httpx.AsyncClient) -> None:
    """A key that no file declares brings its own budgets."""
    own = Budget("key:made:daily", "requests", 3, Window(calendar="day"), match=(("key", "made"),))
    await office.identities.put_key(KeyGrant("made", "globex", (), budgets=(own,)), AuditEntry("a", 0.0, "x", "y", "made", {}))
    found = await shown(client, key="made")
    assert [one["name"] for one in found["admission"]["budgets"]] == ["each", "key:made:daily"]


async def test_nonsense_is_refused_with_what_is_wrong(client: httpx.AsyncClient) -> None:
    """An unknown key, two callers at once, a malformed body; an unknown model is a refusal that is explained."""
    unknown = await client.post("/explain", json=HELLO, params={"key": "nobody"})
    assert (unknown.status_code, unknown.json()["error"]["message"]) == (404, "no such key: nobody")
    both = await client.post("/explain", json=HELLO, params={"key": "ci", "tenant": "acme"})
    assert (both.status_code, "not both" in both.json()["error"]["message"]) == (400, True)
    malformed = await client.post("/explain", content=b"{")
    assert (malformed.status_code, malformed.json()["error"]["type"]) == (400, "invalid_request_error")
    nowhere = await client.post("/explain", json={"model": "gpt-4", "messages": []})
    assert nowhere.json()["refusal"]["status"] == 404


async def test_a_body_over_the_limit_is_not_held(client: httpx.AsyncClient) -> None:
    """The service's own limit holds here too."""
    response = await client.post("/explain", content=b" " * (REGISTRY.max_body_bytes + 1))
    assert response.status_code == 413


async def test_counters_that_nobody_can_read_are_said_to_be_unknown(
    office: Office, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which budgets apply is known all the same."""

    async def read(queries: Sequence[Query], now: float) -> list[Level]:
        raise StoreUnavailableError(f"not for {queries} at {now}")

    monkeypatch.setattr(office.counters, "read", read)
    found = (await shown(client, tenant="acme"))["admission"]
    assert not found["levels_known"]
    assert found["budgets"][0]["settled"] is None


async def test_only_those_who_may_see_budgets_may_ask(office: Office) -> None:
    """From elsewhere only with the API's token, which is nobody's virtual key then; what a foreign page sends is refused."""
    assert (await office.client(address="203.0.113.7").post("/explain", json=HELLO)).status_code == 403
    foreign = {"origin": "https://elsewhere.example"}
    assert (await office.client().post("/explain", json=HELLO, headers=foreign)).status_code == 403
    office.token = "sk-router-ci.right"  # noqa: S105 - made up; it even looks like a key
    assert (await office.client(address="203.0.113.7").post("/explain", json=HELLO)).status_code == 401
    found = await shown(office.client(address="203.0.113.7"), {"authorization": "Bearer sk-router-ci.right"})
    assert found["caller"] is None
