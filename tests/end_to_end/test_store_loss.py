"""The store dies under load, alone, as a master of a cluster, or watched by Sentinels: each budget does what it says, and
counters are right again afterwards. Two replicas share it, through the real Envoy.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from router_extproc.config.load import load_config
from router_extproc.registry.catalogue import load_catalogue
from router_extproc.registry.compile import compile_registry
from router_extproc.store.counters import Query, StoreUnavailableError
from router_extproc.store.open import open_counters
from tests.end_to_end.load import Load, Outcome, chat
from tests.end_to_end.running import Instance, until
from tests.end_to_end.spending import World, world
from tests.redis_servers import RedisServer, password_guard, redis_cluster, single_redis, watched_redis

pytestmark = pytest.mark.end_to_end

CAP, SHARE = 2_000, 0.01
DEADLINE_MS = 100
MORE = f"""
routes:
  open: {{targets: [small]}}
  closed: {{targets: [small]}}
  share: {{targets: [small]}}
budgets:
  open: {{requests: {CAP}, window: {{rolling: 1h}}, match: {{route: open}}, on_store_failure: fail_open}}
  closed: {{requests: {CAP}, window: {{rolling: 1h}}, match: {{route: closed}}, on_store_failure: fail_closed}}
  share:
    {{requests: {CAP}, window: {{rolling: 1h}}, match: {{route: share}}, on_store_failure: local_share, local_share: {SHARE}}}
"""
ROUTES = ("open", "closed", "share")
STORE = f"store: {{deadline: {DEADLINE_MS}ms, redis: {{%s}}}}"


class Store:
    """What the replicas share, and how it is lost and comes back."""

    def __init__(self, lines: str, lose: Callable[[], Any], restore: Callable[[], Any]) -> None:
        self.lines, self.lose, self.restore = STORE % lines, lose, restore


@contextlib.contextmanager
def _single(folder: Path) -> Iterator[Store]:
    with single_redis(folder) as server:
        yield Store(f"url: {server.url}", server.kill, server.start)


@contextlib.contextmanager
def _cluster(folder: Path) -> Iterator[Store]:
    with redis_cluster(folder) as cluster:
        lost = []

        def lose() -> None:
            """The master with the most counters: each has those of some budgets only."""
            lost.append(max(cluster.masters(), key=_kept))
            lost[0].kill()

        yield Store(f"cluster: [{', '.join(cluster.urls)}]", lose, lambda: lost[0].start())  # noqa: PLW0108 - nothing is lost yet


@contextlib.contextmanager
def _watched(folder: Path) -> Iterator[Store]:
    """Servers and Sentinels with a password each, as most have them."""
    folder.mkdir(parents=True)
    files = {name: folder / f"{name}-password" for name in ("server", "sentinel")}
    for name, file in files.items():
        file.write_text(f"{name}-secret\n")
    with watched_redis(folder, password_guard("server-secret", "sentinel-secret")) as watched:
        sentinel = f"urls: [{', '.join(watched.urls)}], service: {watched.service}, password: {{file: {files['sentinel']}}}"
        lines = f"password: {{file: {files['server']}}}, sentinel: {{{sentinel}}}"
        yield Store(lines, lambda: watched.master().kill(), lambda: None)


def _kept(server: RedisServer) -> int:
    with server.client() as client:
        return int(client.dbsize())


KINDS = {"single": _single, "cluster": _cluster, "sentinel": _watched}


@pytest.fixture(scope="module", params=list(KINDS))
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Store]]:
    folder = tmp_path_factory.mktemp(request.param)
    with (
        KINDS[request.param](folder / "redis") as store,
        world(folder / "world", auth="none", replicas=2, workers=1, more=MORE, store=store.lines) as replicas,
    ):
        for instance in replicas.instances:
            until(lambda instance=instance: _is_counted(instance))  # type: ignore[misc]
        yield replicas, store


def _is_counted(instance: Instance) -> bool:
    """Whether the shared store answers this replica: then nothing is degraded."""
    answer = instance.ask("closed")
    return answer.status_code == httpx.codes.OK and "x-router-degraded" not in answer.headers


def _levels(instance: Instance) -> dict[str, int] | None:
    """What the store holds settled for each budget; None while it does not say."""
    registry = compile_registry(load_config(instance.file), load_catalogue())

    async def read() -> dict[str, int]:
        store = open_counters(registry.spending.store, instance.state / "unused.sqlite", {})
        try:
            levels = await store.read([Query(f"requests:{name}", 0) for name in ROUTES], 0)
        finally:
            await store.aclose()
        return {name: level.settled for name, level in zip(ROUTES, levels, strict=True)}

    try:
        return asyncio.run(read())
    except StoreUnavailableError:
        return None


def _recorded(replicas: World) -> dict[str, int]:
    """How many calls the ledgers have for each route."""
    rows = replicas.ledger()
    return {name: sum(row["route"] == name for row in rows) for name in ROUTES}


def test_each_budget_does_what_it_says_and_all_are_right_afterwards(built: tuple[World, Store]) -> None:
    """While the store is away fail_open serves, fail_closed does not, local_share serves its share; then counters agree."""
    replicas, store = built
    bodies = [chat(route) for route in ROUTES]
    with Load(replicas.ports, bodies, connections=6, pause=0.02, headers={}) as load:
        load.after(60)
        store.lose()
        load.after(300, seconds=60)
        store.restore()
        load.after(150, seconds=60)
    by_route: dict[str, list[Outcome]] = {name: [] for name in ROUTES}
    for outcome in load.outcomes:
        by_route[outcome.headers.get("x-router-route", "none")].append(outcome)
    degraded = [outcome for outcome in load.outcomes if outcome.headers.get("x-router-degraded") == "store-unavailable"]
    assert all(outcome.status == httpx.codes.OK for outcome in by_route["open"]), "fail_open refused"
    assert not [outcome for outcome in by_route["closed"] if outcome in degraded and outcome.status == httpx.codes.OK]
    alone = [outcome for outcome in by_route["share"] if outcome in degraded and outcome.status == httpx.codes.OK]
    assert len(alone) <= 2 * int(CAP * SHARE), "more than both replicas' shares"
    assert degraded or not all(outcome.status == httpx.codes.OK for outcome in by_route["closed"]), "the store was never missed"
    for instance in replicas.instances:
        until(lambda instance=instance: _is_counted(instance), seconds=30)  # type: ignore[misc]
    until(lambda: _levels(replicas.instances[0]) == _recorded(replicas), seconds=30, step=0.5)
