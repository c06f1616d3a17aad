"""What plays requests through leg and admission, over real stores in files."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from router_extproc.account import Account, decode_account
from router_extproc.extproc.admission import Admission
from router_extproc.extproc.callers import Callers
from router_extproc.extproc.conclusion import conclude
from router_extproc.extproc.live import View
from router_extproc.extproc.route_leg import RouteLeg
from router_extproc.extproc.ticket import TicketOffice
from router_extproc.limits.identity import digest_of
from router_extproc.registry.health import Health
from router_extproc.registry.snapshot import Plan, Prices, Registry, Route, Tier
from router_extproc.registry.spending import Budget, KeyGrant, Spending, Tenant, Window
from router_extproc.router import Router
from router_extproc.store.counters import CounterStore, Hold, Level, Query, Release, StoreUnavailableError, Total, Verdict
from router_extproc.store.lives import Lives
from router_extproc.store.sqlite_counters import SqliteCounters
from router_extproc.telemetry.worker_figures import Admissions
from tests.extproc.conversation import metadata, read, request_body, request_headers
from tests.extproc.test_callers import Known
from tests.policy import registries as build

KEY = "sk-router-k1.secret"
KEYED: dict[str, Any] = {
    "keys": {
        "k1": KeyGrant("k1", "acme", ((digest_of(KEY, b"s" * 16), None),), user="ann", features=("beta",), tags={"a": "b"})
    },
    "tenants": {"acme": Tenant(tier="premium")},
}
BEARER = {"authorization": f"Bearer {KEY}"}
DAY = Window(calendar="day")
MINUTE = Window(rolling_seconds=60)
# An answer of at most 100 tokens costs 100 µ$ from the small model, 1,000 µ$ from the large one; prompts cost nothing.
SMALL = build.model("small", Tier.ECONOMY, prices=Prices(0, 1), output_limit=1_000)
LARGE = build.model("large", Tier.PREMIUM, prices=Prices(0, 10), output_limit=1_000)


def registry(*budgets: Budget, **spending: Any) -> Registry:
    routes = (Route("either", Plan(targets=build.targets("large", "small"), same_tier=False)),)
    return build.registry(SMALL, LARGE, routes=routes, spending=Spending(budgets=budgets, **spending))


class Away:
    """A store that does not answer while it is ``away``; each question costs it nothing."""

    def __init__(self, store: CounterStore) -> None:
        self.store, self.is_away = store, False
        self.questions = 0
        self.released: list[Release] = []

    def _check(self) -> None:
        if self.is_away:
            raise StoreUnavailableError("away")

    async def reserve(self, reservation: str, holds: Sequence[Hold], until: float, now: float) -> Verdict:
        self.questions += 1
        self._check()
        return await self.store.reserve(reservation, holds, until, now)

    async def release(self, releases: Sequence[Release], now: float) -> None:
        self._check()
        self.released += releases
        await self.store.release(releases, now)

    async def settle(self, totals: Sequence[Total], releases: Sequence[Release], now: float) -> None:
        await self.store.settle(totals, releases, now)

    async def read(self, queries: Sequence[Query], now: float) -> tuple[Level, ...]:
        self._check()
        return await self.store.read(queries, now)

    async def claim(self, name: str, expires_at: float, now: float) -> bool:
        return await self.store.claim(name, expires_at, now)

    async def aclose(self) -> None:
        await self.store.aclose()


class Stage:
    """A worker's admission over a store in a file; ``ask`` plays one request through leg and admission."""

    def __init__(self, folder: Path) -> None:
        self.shared = Away(SqliteCounters(folder / "shared.sqlite"))
        self.local: CounterStore = SqliteCounters(folder / "local.sqlite")
        self.tally = Admissions()
        self.callers = Callers(Known())
        self.lives = Lives(folder / "lives")
        self.admission = Admission(self, self.callers, self.tally, self.lives)
        self.health = Health()
        self.is_waiting = asyncio.Event()
        self.numbers: Iterator[int] = iter(range(1, 10_000))

    async def aclose(self) -> None:
        await self.admission.aclose()
        await self.shared.aclose()
        await self.local.aclose()

    async def ask(
        self,
        view: Registry,
        model: str = "small",
        *,
        id: str = "",  # noqa: A002 - as the header calls it
        headers: Any = None,
        has_body: bool = True,
        life: str = "",
        **body: Any,
    ) -> Told:
        leg = RouteLeg(View(Router(view), view, self.health), TicketOffice(), NoProbes(), draw=1, callers=self.callers)
        own = {
            ":method": "POST",
            ":path": "/v1/chat/completions",
            "content-type": "application/json",
            "x-request-id": id or f"id-{next(self.numbers)}",
        }
        if not leg.headers(request_headers(own | (headers or {}), end=not has_body)):
            return Told(await conclude(leg, self.admission, self.be_patient, life), leg)
        content = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 100} | body
        leg.body(request_body(json.dumps(content).encode()))
        return Told(await conclude(leg, self.admission, self.be_patient, life), leg)

    async def be_patient(self) -> None:
        self.is_waiting.set()


class NoProbes:
    def claim(self, probe: str) -> bool:
        raise AssertionError(probe)


class Told:
    """What Envoy was told."""

    def __init__(self, answers: list[bytes], leg: RouteLeg) -> None:
        self.answers, self.leg = answers, leg
        self.metadata = metadata(answers[0])
        message = read(answers[0])
        self.immediate = message.immediate_response if message.HasField("immediate_response") else None
        self.own: dict[str, str] = self.metadata.get("router.request", {})

    @property
    def account(self) -> Account:
        return decode_account(self.own["account"])

    @property
    def status(self) -> int:
        return 200 if self.immediate is None else self.immediate.status.code

    @property
    def error(self) -> Any:
        assert self.immediate is not None
        return json.loads(self.immediate.body)["error"]

    @property
    def headers(self) -> dict[str, str]:
        assert self.immediate is not None
        return {one.header.key: one.header.raw_value.decode() for one in self.immediate.headers.set_headers}

    @property
    def reason(self) -> str:
        return str(self.metadata["router"]["reason"])

    @property
    def first(self) -> str:
        return str(self.metadata["router"]["first"])

    @property
    def body(self) -> Any:
        changed = read(self.answers[0]).request_headers.response.body_mutation.body
        return json.loads(changed) if changed else None


def usd(cap: int, **more: Any) -> Budget:
    return Budget("money", "usd", cap, **{"window": DAY, "downgrade_at": None} | more)
