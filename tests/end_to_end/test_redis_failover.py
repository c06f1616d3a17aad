"""The master of a Redis is lost under load: who may pass passes, who may not does not, and all is counted in the end."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest
import redis

from tests.end_to_end.running import Instance, Simulators, running, until
from tests.end_to_end.spending import MODEL, billed, ledger
from tests.redis_servers import RedisServer, redis_cluster, watched_redis

pytestmark = pytest.mark.end_to_end

SIMULATED = {"one": {"models": ["small"]}}
SECONDS = 40.0
CONFIGURATION = f"""
auth: {{mode: none}}
store: {{redis: REDIS, deadline: 250ms}}
providers: {{one: {{base_url: "$one/v1"}}}}
models:
  small: {{deployments: [{{provider: one}}],
{MODEL}}}
routes:
  open: {{targets: [small]}}
  closed: {{targets: [small]}}
budgets:
  open: {{usd: 10, window: day, match: {{route: open}}, on_store_failure: fail_open}}
  closed: {{usd: 10, window: day, match: {{route: closed}}, on_store_failure: fail_closed}}
"""


class Watched:
    """Some Redis servers: how they are written down, and which of them has a key now."""

    def __init__(self, written: str, servers: list[RedisServer]) -> None:
        self.written = written
        self.servers = servers

    def amount(self, route: str) -> int:
        """Micro-dollars of a route's budget, as the master has them that has them."""
        master = self.master_of(route)
        if master is None:
            return -1
        with master.client() as client:
            return sum(map(int, client.hvals(self._keys(client, route)[0])))

    def master_of(self, route: str) -> RedisServer | None:
        """The server that is asked for this route's budget, None while there is none."""
        for server in self.servers:
            try:
                with server.client() as client:
                    if client.info("replication")["role"] == "master" and self._keys(client, route):
                        return server
            except redis.RedisError:
                continue
        return None

    @staticmethod
    def _keys(client: redis.Redis, route: str) -> list[str]:
        return list(client.scan_iter(f"router:*:settled:usd:{route}"))


@contextmanager
def in_a_cluster(folder: Path) -> Iterator[Watched]:
    with redis_cluster(folder) as cluster:
        yield Watched(f"{{cluster: [{', '.join(cluster.urls)}]}}", cluster.servers)


@contextmanager
def behind_sentinels(folder: Path) -> Iterator[Watched]:
    with watched_redis(folder) as watched:
        urls = ", ".join(watched.urls)
        yield Watched(f"{{sentinel: {{service: {watched.service}, urls: [{urls}]}}}}", watched.servers)


class Asking:
    """Asks for one route again and again, as long as the block lasts."""

    def __init__(self, instance: Instance, route: str) -> None:
        self.statuses: Counter[int] = Counter()
        self.degraded = 0
        self._instance = instance
        self._route = route
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(0.02):
            answer = self._instance.ask(self._route, max_tokens=20)
            self.statuses[answer.status_code] += 1
            self.degraded += answer.headers.get("x-router-degraded") == "store-unavailable"


def is_counted(instance: Instance, route: str) -> bool:
    answer = instance.ask(route, max_tokens=20)
    return answer.status_code == 200 and "x-router-degraded" not in answer.headers


@pytest.mark.parametrize("kind", [in_a_cluster, behind_sentinels])
def test_a_master_is_lost_under_load(
    simulators: Simulators, tmp_path_factory: pytest.TempPathFactory, kind: Callable[[Path], Watched]
) -> None:
    """Until its replica has been told everything `fail_open` serves and says so, `fail_closed` refuses; nobody gets another
    error. Then counters, ledger and bill are equal to the micro-dollar.
    """
    simulators.heal()
    with kind(tmp_path_factory.mktemp("redis")) as servers:  # type: ignore[attr-defined]
        configuration = simulators.fill(CONFIGURATION).replace("REDIS", servers.written)
        with running(Instance(tmp_path_factory.mktemp("instance"), configuration)) as instance:
            for route in ("open", "closed"):
                until(lambda route=route: is_counted(instance, route), SECONDS)
            lost = until(lambda: servers.master_of("closed"), SECONDS)
            is_lost_for_both = servers.master_of("open") is lost
            with Asking(instance, "open") as open_route, Asking(instance, "closed") as closed_route:
                until(lambda: closed_route.statuses[200] > 5, SECONDS)
                lost.kill()
                until(lambda: closed_route.statuses[503] > 5, SECONDS)
                served = closed_route.statuses[200]
                until(lambda: closed_route.statuses[200] > served + 5, SECONDS)
            assert set(open_route.statuses) == {200}
            assert set(closed_route.statuses) == {200, 503}
            assert bool(open_route.degraded) or not is_lost_for_both
            bill = billed(simulators, ["one"])
            until(lambda: sum(row["cost_micro_usd"] for row in ledger([instance])) == sum(bill), SECONDS)
            for route in ("open", "closed"):
                rows = [row["cost_micro_usd"] for row in ledger([instance]) if row["route"] == route]
                until(lambda route=route, rows=rows: servers.amount(route) == sum(rows), SECONDS)
