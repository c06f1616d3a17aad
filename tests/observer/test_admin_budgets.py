"""Budgets, raises, the ledger and alerts over HTTP: what is shown is what requests are judged by."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from router_extproc.registry.spending import Budget, KeyGrant, Raise, Spending, Window
from router_extproc.store.alerts import Alert
from router_extproc.store.counters import Hold, Level, Query, StoreUnavailableError
from router_extproc.store.ledger import Charge, Ledger, LedgerRow, Settlement, ledger_rows
from router_extproc.store.sqlite_counters import SqliteCounters
from tests.observer.desks import NOW, Office
from tests.observer.entries import REGISTRY

MARCH = 1_772_323_200  # 2026-03-01T00:00:00Z
LATER = 1_776_000_000
MONTH = Window(calendar="month")
TENANTS = Budget("tenants", "usd", 10_000_000, MONTH, per=("tenant",))
EVERYBODY = Budget("everybody", "usd", 50_000_000, MONTH)


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    opened = await Office(tmp_path).open()
    yield opened
    await opened.close()


@pytest.fixture
def client(office: Office) -> httpx.AsyncClient:
    return office.client()


def configure(office: Office, *budgets: Budget, **keys: KeyGrant) -> None:
    office.registry = replace(REGISTRY, spending=Spending(budgets=budgets, keys=keys))


async def hold(office: Office, counter: str, amount: int, *, bucket: int = MARCH) -> None:
    """Sets an amount aside."""
    wanted = Hold(counter, bucket, bucket, amount, 10**12, "enforce", LATER)
    await office.counters.reserve(f"held-{counter}", [wanted], NOW + 600, NOW)


def settle(office: Office, cost: int, *counters: str, bucket: int = MARCH, **labels: Any) -> None:
    """Writes a call into the ledger, and its cost into counters."""
    with closing(Ledger(office.state.ledger)) as ledger:
        request = f"d-{len(ledger_rows(office.state.ledger, limit=1_000))}"
        row = LedgerRow(request=request, attempt=1, at=NOW, cost_micro_usd=cost, prompt_tokens=10, **labels)
        ledger.record([Settlement(row, tuple(Charge(counter, bucket, cost, LATER) for counter in counters))])


async def show(client: httpx.AsyncClient, tenant: str | None = None) -> dict[str, Any]:
    response = await client.get("/budgets", params={} if tenant is None else {"tenant": tenant})
    assert response.status_code == 200, response.text
    return dict(response.json())


async def test_a_budget_of_a_tenant(office: Office, client: httpx.AsyncClient) -> None:
    """Reserved, settled and left as the store has them, to the micro-dollar, and when the window ends."""
    configure(office, TENANTS)
    settle(office, 1_234_567, "usd:tenants|tenant=acme", tenant="acme")
    await hold(office, "usd:tenants|tenant=acme", 2_000_001)
    assert await show(client, "acme") == {
        "tenant": "acme",
        "reserved_usd": "2.000001",
        "settled_usd": "1.234567",
        "remaining_usd": "6.765432",
        "budgets": [
            {
                "name": "tenants",
                "scope": "tenant=acme",
                "unit": "usd",
                "window": "month",
                "mode": "enforce",
                "cap_usd": "10.000000",
                "reserved_usd": "2.000001",
                "settled_usd": "1.234567",
                "remaining_usd": "6.765432",
                "resets_at": "2026-04-01T00:00:00Z",
            }
        ],
    }


async def test_what_the_last_window_left_is_shown(office: Office, client: httpx.AsyncClient) -> None:
    """The cap is the one in force, and what of it was carried is told; what may still be settled in that window is not."""
    tenants = replace(TENANTS, rollover_since=0.0, raises=(Raise(1_000_000, until=NOW + 60),))
    february = MARCH - 28 * 86_400
    configure(office, tenants, replace(EVERYBODY, name="words", unit="tokens", cap=500, rollover_since=0.0))
    settle(office, 4_000_000, "usd:tenants|tenant=acme", bucket=february, tenant="acme")
    settle(office, 2_000_000, "usd:tenants|tenant=acme", tenant="acme")
    shown = (await show(client, "acme"))["budgets"]
    names = ("cap_usd", "carried_usd", "settled_usd", "remaining_usd", "raised")
    assert [shown[0][name] for name in names] == ["17.000000", "6.000000", "2.000000", "15.000000", True]
    assert (shown[1]["cap"], shown[1]["carried"], "raised" in shown[1]) == (1_000, 500, False)
    configure(office, replace(tenants, raises=(), rollover_since=float(MARCH)))
    [without] = (await show(client, "acme"))["budgets"]
    assert (without["cap_usd"], "carried_usd" in without) == ("10.000000", False)


async def test_what_is_overdrawn_has_nothing_left(office: Office, client: httpx.AsyncClient) -> None:
    """An aborted stream may cost more than was likely; nothing is negative."""
    configure(office, TENANTS)
    settle(office, 11_000_000, "usd:tenants|tenant=acme", tenant="acme")
    shown = await show(client, "acme")
    assert (shown["settled_usd"], shown["remaining_usd"]) == ("11.000000", "0.000000")


async def test_the_sum_is_that_of_the_tightest_budget_of_the_tenant_alone(office: Office, client: httpx.AsyncClient) -> None:
    """Budgets of its keys are parts of it, that of everybody holds others' money too: neither is added."""
    week = replace(TENANTS, name="weekly", window=Window(calendar="week"), match=(("tenant", "ac*"),), cap=3_000_000)
    key = KeyGrant("k1", "acme", (), budgets=(Budget("purse", "usd", 1_000_000),))
    configure(office, TENANTS, week, EVERYBODY, k1=key)
    monday = MARCH - 6 * 86_400
    settle(office, 500_000, "usd:tenants|tenant=acme", tenant="acme", key="k1")
    settle(office, 500_000, "usd:weekly|tenant=acme", bucket=monday, tenant="acme")
    shown = await show(client, "acme")
    assert [budget["name"] for budget in shown["budgets"]] == ["tenants", "weekly", "everybody", "key:k1:purse"]
    assert (shown["settled_usd"], shown["remaining_usd"]) == ("0.500000", "2.500000")


async def test_without_a_budget_of_the_tenant_its_keys_are_added(office: Office, client: httpx.AsyncClient) -> None:
    """Made and declared ones, each with what it has left."""
    configure(office, EVERYBODY, k1=KeyGrant("k1", "acme", (), budgets=(Budget("purse", "usd", 1_000_000),)))
    made = (await client.post("/keys", json={"tenant": "acme", "budgets": {"pocket": {"usd": 2}}})).json()
    settle(office, 300_000, "usd:key:k1:purse", bucket=0, tenant="acme", key="k1")
    settle(office, 500_000, f"usd:key:{made['id']}:pocket", bucket=0, tenant="acme", key=made["id"])
    shown = await show(client, "acme")
    assert (shown["settled_usd"], shown["remaining_usd"]) == ("0.800000", "2.200000")
    assert await show(client, "other") == {
        "tenant": "other",
        "reserved_usd": "0.000000",
        "settled_usd": "0.000000",
        "remaining_usd": "50.000000",
        "budgets": [shown["budgets"][0]],
    }


async def test_without_any_budget_the_ledger_says_what_was_spent(office: Office, client: httpx.AsyncClient) -> None:
    """Nothing is capped, and nothing is left of no cap."""
    settle(office, 42, tenant="acme")
    shown = await show(client, "acme")
    assert (shown["settled_usd"], shown["remaining_usd"], shown["budgets"]) == ("0.000042", None, [])


async def test_budgets_of_others_are_not_shown(office: Office, client: httpx.AsyncClient) -> None:
    """By tenant, and by labels that nobody of the tenant had; what is off is never shown."""
    configure(
        office,
        Budget("theirs", "usd", 1, match=(("tenant", "other"),)),
        Budget("search", "usd", 1, match=(("team", "search"),)),
        Budget("sales", "usd", 1, match=(("team", "sales"),)),
        Budget("nothing", "usd", 1, mode="off"),
        Budget("provider:openai:requests", "requests", 5, Window(rolling_seconds=60), match=(("provider", "openai"),)),
    )
    settle(office, 1, tenant="acme", team="search")
    assert [budget["name"] for budget in (await show(client, "acme"))["budgets"]] == ["search"]
    everything = [budget["name"] for budget in (await show(client))["budgets"]]
    assert everything == ["theirs", "search", "sales", "provider:openai:requests"]


async def test_each_value_that_was_seen_is_shown(office: Office, client: httpx.AsyncClient) -> None:
    """Of a budget for each user, the users that the ledger knows, the dearest first; other units are plain numbers."""
    configure(office, Budget("steps", "iterations", 50, MONTH, per=("user",), mode="observe"), TENANTS)
    settle(office, 5, "iterations:steps|tenant=acme|user=ann", tenant="acme", user="ann")
    settle(office, 9, "iterations:steps|tenant=acme|user=bob", tenant="acme", user="bob")
    settle(office, 7, "iterations:steps|tenant=other|user=eve", tenant="other", user="eve")
    shown = (await show(client, "acme"))["budgets"]
    assert [(each["scope"], each.get("settled"), each.get("cap")) for each in shown] == [
        ("tenant=acme,user=bob", 9, 50),
        ("tenant=acme,user=ann", 5, 50),
        ("tenant=acme", None, None),
    ]
    assert shown[0]["mode"] == "observe"
    assert len((await show(client))["budgets"]) == 5


async def test_sessions_count_within_their_tenant(office: Office, client: httpx.AsyncClient) -> None:
    """Two tenants' sessions of one name are two."""
    configure(office, Budget("turns", "requests", 9, per=("session",)))
    settle(office, 4, "requests:turns|tenant=acme|session=s", bucket=0, tenant="acme", session="s")
    settle(office, 6, "requests:turns|tenant=other|session=s", bucket=0, tenant="other", session="s")
    assert [budget["settled"] for budget in (await show(client, "acme"))["budgets"]] == [4]
    assert [budget["settled"] for budget in (await show(client))["budgets"]] == [6, 4]


async def test_a_raise_holds_until_it_ends(office: Office, client: httpx.AsyncClient) -> None:
    """Of what the file names, and of a key's own budget; those of the file add to it."""
    configure(office, replace(TENANTS, raises=(Raise(1_000_000, NOW + 60),)))
    raised = await client.post("/budgets/tenants/raises", json={"usd": "2.5", "until": "1h"})
    assert raised.status_code == 201
    assert {name: raised.json()[name] for name in ("budget", "amount_usd", "since", "until")} == {
        "budget": "tenants",
        "amount_usd": "2.500000",
        "since": "2026-03-01T12:00:00Z",
        "until": "2026-03-01T13:00:00Z",
    }
    for seconds, cap in ((0, "13.500000"), (61, "12.500000"), (3_600, "10.000000")):
        office.now = NOW + seconds
        [budget] = (await show(client, "acme"))["budgets"]
        assert (budget["cap_usd"], budget.get("raised", False)) == (cap, cap != "10.000000")
    made = (await client.post("/keys", json={"tenant": "acme", "budgets": {"pocket": {"usd": 2}}})).json()
    name = made["budgets"][0]["name"]
    assert (await client.post(f"/budgets/{name}/raises", json={"usd": 1, "until": "2h"})).status_code == 201
    assert (await show(client, "acme"))["budgets"][1]["cap_usd"] == "3.000000"
    audit = (await client.get("/audit")).json()["entries"]
    assert [(entry["action"], entry["subject"]) for entry in audit] == [
        ("budget.raise", name),
        ("key.create", made["id"]),
        ("budget.raise", "tenants"),
    ]
    assert audit[2]["detail"]["amount_usd"] == "2.500000"


async def test_a_raise_may_begin_later(office: Office, client: httpx.AsyncClient) -> None:
    """``since`` may be a duration too."""
    configure(office, TENANTS)
    await client.post("/budgets/tenants/raises", json={"usd": 1, "since": "1h", "until": "2h"})
    assert (await show(client, "acme"))["budgets"][0]["cap_usd"] == "10.000000"
    office.now = NOW + 3_601
    assert (await show(client, "acme"))["budgets"][0]["cap_usd"] == "11.000000"


@pytest.mark.parametrize(
    ("name", "body", "status", "complaint"),
    [
        ("nothing", {"usd": 1, "until": "1h"}, 404, "no such budget"),
        ("key:nobody:day", {"usd": 1, "until": "1h"}, 404, "no such budget"),
        ("tenants", {"tokens": 1, "until": "1h"}, 400, "a raise in tokens of a budget in usd"),
        ("tenants", {"usd": 1}, 400, "until: is missing (for example `until: 2030-12-31`)"),
        ("tenants", {"usd": 1, "until": "yesterday"}, 400, "until:"),
        ("tenants", {"usd": 1, "until": "2026-02-01"}, 400, "over already"),
        ("tenants", {"usd": -1, "until": "1h"}, 400, "usd:"),
        ("tenants", {"usd": 1, "until": "1h", "since": "2h"}, 400, "since"),
        ("tenants", {"usd": 1, "until": "1h", "by": "me"}, 400, "by: unknown key (the keys here are: usd, tokens,"),
        ("tenants", {"usd": 1, "until": "99999d"}, 400, "until: 99999d is no usable duration"),
        ("tenants", {"until": "1h"}, 400, "exactly one of `usd`, `tokens`"),
    ],
)
async def test_a_wrong_raise(office: Office, name: str, body: dict[str, Any], status: int, complaint: str) -> None:
    """Told, and nothing is raised."""
    configure(office, TENANTS)
    client = office.client()
    response = await client.post(f"/budgets/{name}/raises", json=body)
    assert (response.status_code, complaint in response.json()["error"]["message"]) == (status, True), response.text
    assert (await client.get("/audit")).json()["entries"] == []


async def test_the_ledger_by_labels(office: Office, client: httpx.AsyncClient) -> None:
    """Sums of any labels, narrowed by any label and by time; the newest calls page by page."""
    settle(office, 100, tenant="acme", model="small", tags={"app": "chat"})
    settle(office, 250, tenant="acme", model="large")
    settle(office, 10, tenant="other", model="small")
    sums = (await client.get("/ledger", params={"per": "tenant"})).json()["sums"]
    assert [(each["tenant"], each["calls"], each["cost_usd"], each["prompt_tokens"]) for each in sums] == [
        ("acme", 2, "0.000350", 20),
        ("other", 1, "0.000010", 10),
    ]
    narrowed = (await client.get("/ledger", params={"per": "tenant,model", "tag:app": "chat"})).json()["sums"]
    assert [(each["tenant"], each["model"], each["cost_usd"]) for each in narrowed] == [("acme", "small", "0.000100")]
    assert (await client.get("/ledger", params={"per": "tenant", "since": "2026-03-02"})).json() == {"sums": []}
    first = (await client.get("/ledger", params={"tenant": "acme", "limit": 1})).json()
    assert [(each["model"], each["cost_usd"], each["at"]) for each in first["calls"]] == [
        ("large", "0.000250", "2026-03-01T12:00:00Z")
    ]
    second = (await client.get("/ledger", params={"tenant": "acme", "limit": 1, "before": first["next"]})).json()
    assert [each["model"] for each in second["calls"]] == ["small"]


@pytest.mark.parametrize("query", [{"per": "nonsense"}, {"nonsense": "x"}, {"per": "tenant", "since": "soon"}, {"limit": "x"}])
async def test_a_wrong_question_to_the_ledger(client: httpx.AsyncClient, query: dict[str, str]) -> None:
    """Refused with what is wrong."""
    assert (await client.get("/ledger", params=query)).status_code == 400


async def test_alerts_are_shown(office: Office, client: httpx.AsyncClient) -> None:
    """The newest first, in the words of the webhook, with what became of them."""
    alert = Alert(
        name="alert:x", at=NOW, budget="tenants", counter="usd:tenants|tenant=a%20b", unit="usd", threshold=0.8,
        settled=8_000_000, cap=10_000_000, expires_at=NOW + 60,
    )  # fmt: skip
    office.outbox.become(office.outbox.add(alert), "due")
    office.outbox.add(alert)  # not claimed yet: nobody's
    assert (await client.get("/alerts")).json()["alerts"] == [
        {
            "at": "2026-03-01T12:00:00Z",
            "budget": "tenants",
            "threshold": 0.8,
            "text": "Budget tenants (tenant=a b) has used 80 % of 10.000000 USD: 8.000000 USD.",
            "delivery": "due",
            "failed_deliveries": 0,
        }
    ]


class Busy(SqliteCounters):
    """A store that misses its deadline now and then."""

    failures = 5

    async def read(self, queries: Sequence[Query], now: float) -> tuple[Level, ...]:
        self.failures -= 1
        if self.failures >= 0:
            raise StoreUnavailableError("did not answer within 20 ms")
        return await super().read(queries, now)


async def test_a_busy_store_is_asked_again(office: Office, client: httpx.AsyncClient) -> None:
    """Its deadline is made for requests; an administrator waits a second. Without it there is an error, not zeros."""
    configure(office, *(replace(TENANTS, name=f"b{number}") for number in range(120)))
    await office.counters.aclose()
    office.counters = busy = Busy(office.state.ledger)
    assert len((await show(client, "acme"))["budgets"]) == 120
    busy.failures = 1_000
    refused = await client.get("/budgets?tenant=acme")
    assert (refused.status_code, "20 ms" in refused.text) == (503, True)


async def test_levels_of_counters_by_name(office: Office, client: httpx.AsyncClient) -> None:
    """In the order of the questions; a counter that nobody knows is empty, and a question that is none is refused."""
    settle(office, 70, "usd:tenants|tenant=acme", tenant="acme")
    await hold(office, "usd:tenants|tenant=acme", 30)
    queries = [{"counter": name, "since": MARCH} for name in ("usd:nothing", "usd:tenants|tenant=acme")]
    answer = await client.post("/levels", json={"queries": queries})
    assert answer.json() == {"levels": [{"settled": 0, "held": 0}, {"settled": 70, "held": 30}]}
    for wrong in ({}, {"queries": [{"counter": 1}]}):
        refused = await client.post("/levels", json=wrong)
        assert refused.status_code == 400
        assert "queries" in refused.json()["error"]["message"]
