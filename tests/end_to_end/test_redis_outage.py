"""Redis comes and goes under a running instance: each budget does what is written for it, and nothing is lost or forgotten."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from tests.end_to_end.running import Instance, Simulators, running, until
from tests.end_to_end.spending import MODEL, billed, ledger
from tests.redis_servers import RedisServer, single_redis

pytestmark = pytest.mark.end_to_end

SIMULATED = {"one": {"models": ["small"]}}
CONFIGURATION = f"""
auth: {{mode: none}}
store: {{redis: {{url: "REDIS"}}, deadline: 250ms}}
providers: {{one: {{base_url: "$one/v1"}}}}
models:
  small: {{deployments: [{{provider: one}}],
{MODEL}}}
routes:
  open: {{targets: [small]}}
  closed: {{targets: [small]}}
  shared: {{targets: [small]}}
budgets:
  open: {{usd: 1, window: month, match: {{route: open}}, on_store_failure: fail_open}}
  closed: {{usd: 1, window: month, match: {{route: closed}}, on_store_failure: fail_closed}}
  shared: {{requests: 40, window: month, match: {{route: shared}}, on_store_failure: local_share, local_share: 0.1}}
"""


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with single_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def instance(simulators: Simulators, redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    configuration = simulators.fill(CONFIGURATION).replace("REDIS", redis.url)
    with running(Instance(tmp_path_factory.mktemp("instance"), configuration)) as started:
        yield started


def ask(instance: Instance, route: str) -> httpx.Response:
    return instance.ask(route, max_tokens=20)


def is_counted(instance: Instance) -> bool:
    """Whether a request is counted where all instances count."""
    answer = ask(instance, "closed")
    return answer.status_code == 200 and "x-router-degraded" not in answer.headers


def spent(instance: Instance) -> Counter[str]:
    """Micro-dollars by route, as the instance's own ledger has them."""
    rows: Counter[str] = Counter()
    for row in ledger([instance]):
        rows[row["route"]] += row["cost_micro_usd"]
    return rows


def told(redis: RedisServer) -> dict[str, int]:
    """Micro-dollars by budget of money, as Redis has them."""
    with redis.client() as client:
        counters = {key.rpartition(":")[2]: key for key in client.scan_iter("router:*:settled:usd:*")}
        return {name: sum(map(int, client.hvals(key))) for name, key in counters.items()}


def held(redis: RedisServer) -> list[str]:
    """Counters in which something is set aside."""
    with redis.client() as client:
        return list(client.scan_iter("router:*:held:*"))


def test_redis_is_killed_and_comes_back_empty(instance: Instance, redis: RedisServer, simulators: Simulators) -> None:
    """With Redis dead, `fail_open` serves and says that it is degraded, `fail_closed` refuses, `local_share` serves its share;
    when Redis is back with nothing in it, what was spent before and meanwhile is in it again, to the micro-dollar.
    """
    until(lambda: is_counted(instance), 20)
    redis.kill()
    assert until(lambda: (answer := ask(instance, "closed")).status_code == 503 and answer, 20)
    answers = {route: [ask(instance, route) for _ in range(8)] for route in ("open", "closed", "shared")}
    statuses = {route: Counter(answer.status_code for answer in answered) for route, answered in answers.items()}
    assert statuses["open"] == {200: 8}
    assert {answer.headers["x-router-degraded"] for answer in answers["open"]} == {"store-unavailable"}
    assert statuses["closed"] == {503: 8}
    refusal = answers["closed"][0]
    assert refusal.json()["error"]["code"] == "store_unavailable"
    assert int(refusal.headers["retry-after"]) >= 1
    # Clients are told of no server.
    assert not any(str(redis.port) in answer.text or "redis" in answer.text.lower() for answer in answers["closed"])
    # A tenth of 40, by this instance alone.
    assert statuses["shared"] == {200: 4, 429: 4}
    redis.start()
    until(lambda: is_counted(instance), 20)
    # What is counted next is told as the last.
    bill = sum(billed(simulators, ["one"]))
    assert until(lambda: sum(spent(instance).values()) == bill, 20)
    assert until(lambda: told(redis) == {name: spent(instance)[name] for name in ("open", "closed")}, 20)
    until(lambda: not held(redis), 20)


def test_a_redis_that_stalls_costs_little(instance: Instance, redis: RedisServer) -> None:
    """A Redis that keeps its connections and answers nobody is a dead one: requests go on, and are counted again soon."""
    until(lambda: is_counted(instance), 20)
    redis.pause()
    try:
        answers = [ask(instance, "open") for _ in range(10)]
    finally:
        redis.go_on()
    assert {answer.status_code for answer in answers} == {200}
    assert "store-unavailable" in {answer.headers.get("x-router-degraded") for answer in answers}
    until(lambda: is_counted(instance), 20)


def test_a_redis_without_scripts_is_refused_at_the_start(
    simulators: Simulators, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The start says what is blocked and what to allow, before anything listens."""
    with single_redis(tmp_path_factory.mktemp("redis"), ['rename-command EVALSHA ""', 'rename-command EVAL ""']) as redis:
        configuration = simulators.fill(CONFIGURATION).replace("REDIS", redis.url)
        instance = Instance(tmp_path_factory.mktemp("instance"), configuration)
        with pytest.raises(AssertionError, match="scripts cannot be run"):
            instance.start()
        instance.stop()
