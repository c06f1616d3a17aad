"""The admin API over real files, and clients of it from here and from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import httpx
from starlette.applications import Starlette

from router_extproc.config.state import StateDirectory
from router_extproc.observer.admin_budgets import budget_routes
from router_extproc.observer.admin_keys import key_routes
from router_extproc.observer.desk import Desk
from router_extproc.observer.identities import Identities
from router_extproc.registry.snapshot import Registry
from router_extproc.registry.spending import StoreSettings
from router_extproc.store.alerts import AlertOutbox
from router_extproc.store.sqlite_counters import SqliteCounters
from tests.observer.entries import REGISTRY

NOW = 1_772_366_400.0  # 2026-03-01T12:00:00Z


@dataclass
class Office:
    """One instance's keys, counters and alerts in a folder; ``now`` and ``registry`` may be changed."""

    folder: Path
    registry: Registry = REGISTRY
    now: float = NOW
    token: str | None = None
    clients: list[httpx.AsyncClient] = field(default_factory=list)

    async def open(self) -> Office:
        self.state = StateDirectory(self.folder)
        self.identities = Identities(self.state, {})
        await self.identities.follow(StoreSettings())
        self.counters = SqliteCounters(self.state.ledger)
        self.outbox = AlertOutbox(self.state.alerts)
        self.desk = Desk(
            identities=self.identities,
            registry=lambda: self.registry,
            store=lambda: self.counters,
            outbox=lambda: self.outbox,
            ledger=self.state.ledger,
            clock=lambda: self.now,
            token=lambda: self.token,
        )
        self.app = Starlette(routes=[*key_routes(self.desk), *budget_routes(self.desk)])
        return self

    def client(self, address: str = "127.0.0.1", host: str = "127.0.0.1:9902") -> httpx.AsyncClient:
        """A caller from this address."""
        transport = httpx.ASGITransport(self.app, client=(address, 50_000))
        self.clients.append(httpx.AsyncClient(transport=transport, base_url=f"http://{host}"))
        return self.clients[-1]

    async def close(self) -> None:
        for client in self.clients:
            await client.aclose()
        await self.identities.aclose()
        await self.counters.aclose()
        self.outbox.close()
