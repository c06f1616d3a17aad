"""Fail-open is no open door: where keys or an enforced budget exist, what no worker decided is refused, whatever it is."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.end_to_end.load import Load, chat
from tests.end_to_end.running import CHAT, HELLO, Instance, Simulators, running, until
from tests.end_to_end.test_death import without_workers

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("healed")]

KEY = "sk-router-declared.the-secret-that-was-shown-once-and-is-kept-nowhere"
SALT = bytes(range(16))
DIGEST = f"sha256:{SALT.hex()}:{hashlib.sha256(SALT + KEY.encode()).hexdigest()}"
UNKNOWN = "sk-router-declared.another-secret"

PROVIDERS = """
providers: {one: {base_url: "$one/v1"}}
models: {small: {prices: {input: 1, output: 2}, deployments: [{provider: one}]}}
"""
CONFIGURATION = (
    PROVIDERS
    + f"""
auth: {{mode: keys}}
tenants: {{acme: {{}}}}
keys: {{declared: {{tenant: acme, digest: "{DIGEST}"}}}}
routes:
  auto: {{targets: [small]}}
  vital: {{targets: [small], on_router_failure: allow}}
aliases: {{urgent: vital}}
"""
)
SIMULATED = {"one": {"models": ["small"]}}
SIZES = [chat(), chat(size=3_000), chat(size=200_000), chat(stream=True), chat("small"), chat("no-such-model")]


def with_key(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def asked(simulators: Simulators) -> int:
    return int(simulators.stats("one")["requests"])


def refused(answer: httpx.Response) -> None:
    """The answer says in OpenAI's shape that it was not decided, and when to come back."""
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"]["code"] == "router_unavailable"
    assert answer.json()["error"]["type"] == "server_error"


def test_without_workers_nobody_is_served(instance: Instance, simulators: Simulators) -> None:
    """With every worker killed there is never a 200: not with a right key, a wrong one or none, small or large, as a stream."""
    with without_workers(instance), instance.http() as http:
        for key, size in itertools.product((KEY, UNKNOWN, "sk-anything", None), (0, 3_000, 200_000, 5_000_000)):
            headers = {} if key is None else with_key(key)
            content = {"model": "auto", "messages": [{"role": "user", "content": "x" * size}]}
            for stream in (False, True):
                refused(http.post(CHAT, json=content | {"stream": stream}, headers=headers))
            refused(http.get("/v1/models", headers=headers))
            refused(http.post("/v1/files", content=b"x" * size, headers=headers))
    assert asked(simulators) == 0
    until(lambda: instance.ask(headers=with_key(KEY)).status_code == 200)


def test_what_its_route_allows_is_served_without_workers(instance: Instance, simulators: Simulators) -> None:
    """A route that says so is served by the default chain, under its own name and its alias, at any size."""
    until(lambda: instance.serving_workers() == 2)
    with without_workers(instance):
        for model, size in itertools.product(("vital", "urgent"), (0, 200_000)):
            answer = instance.ask(model, messages=[{"role": "user", "content": "x" * size}])
            assert (answer.status_code, answer.headers["x-router-degraded"]) == (200, "router-unavailable")
            # Which the provider would refuse by any other id than its own.
            assert answer.json()["model"] == "small"
    assert asked(simulators) == 4


@pytest.mark.parametrize(
    "more",
    ['"model":"small"', '"tools":[{"model":"x"}],"Model":"small"', '"mod\\u0065l":"small"', '"x":"{","model":"vital"'],
)
def test_no_second_model_comes_in_beside_an_allowed_one(instance: Instance, simulators: Simulators, more: str) -> None:
    """A body that names a route that is open, and once more another model, is not served undecided."""
    body = f'{{"model":"vital","messages":[{{"role":"user","content":"Hello"}}],{more}}}'
    with without_workers(instance), instance.http() as http:
        refused(http.post(CHAT, content=body, headers={"content-type": "application/json"}))
        tools = [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"model": {"type": "string"}}}}}]
        assert instance.ask("vital", tools=tools).status_code == 200
    assert asked(simulators) == 1


def test_what_was_refused_is_in_the_decision_log(instance: Instance) -> None:
    """Whoever looks an answer up finds why nobody was called."""
    with without_workers(instance):
        answer = instance.ask(headers=with_key(KEY))
    record = instance.decision(answer.headers["x-router-decision"])
    assert (record["status"], record["reason"], record["degraded"]) == (503, "router_unavailable", "router-unavailable")
    assert record["attempts"] == []


def test_with_workers_a_key_decides(instance: Instance, simulators: Simulators) -> None:
    """While workers serve, the route that may be served undecided asks for a key like every other."""
    until(lambda: instance.serving_workers() == 2)
    for model in ("auto", "vital"):
        assert instance.ask(model, headers=with_key(KEY)).status_code == 200
        assert instance.ask(model, headers=with_key(UNKNOWN)).status_code == 401
        assert instance.ask(model).status_code == 401
    assert asked(simulators) == 2


def test_an_unknown_key_is_never_served_while_workers_die(instance: Instance, simulators: Simulators) -> None:
    """Under load with workers killed again and again, an unknown key gets 401 or 503, and a provider never hears of it."""
    until(lambda: instance.serving_workers() == 2)
    with Load([instance.port], SIZES, connections=6, headers=with_key(UNKNOWN)) as load:
        for round_ in range(4):
            load.after(60)
            instance.kill_worker(round_ % 2)
        with without_workers(instance):
            load.after(100)
    statuses: Counter[int] = load.by(lambda outcome: outcome.status)
    assert set(statuses) == {401, 503}
    assert statuses[503] >= 50
    assert asked(simulators) == 0


def test_a_known_key_is_served_as_soon_as_there_is_a_worker(instance: Instance) -> None:
    """With one of two workers killed under load, requests with a key are decided and served as without keys."""
    until(lambda: instance.serving_workers() == 2)
    with Load([instance.port], SIZES[:5], connections=6, headers=with_key(KEY)) as load:
        load.after(60)
        instance.kill_worker(0)
        load.after(60)
    assert not load.not_served
    assert not load.not_decided


@pytest.fixture
def budgeted(simulators: Simulators, tmp_path: Path) -> Iterator[Instance]:
    budgets = "budgets: {house: {usd: 100, window: month}}\n"
    with running(Instance(tmp_path, simulators.fill(PROVIDERS) + budgets)) as started:
        yield started


def test_an_enforced_budget_closes_the_door_too(budgeted: Instance, simulators: Simulators) -> None:
    """What is not counted is not served, though nobody is asked who they are."""
    assert budgeted.ask("small").status_code == 200
    with without_workers(budgeted), budgeted.http() as http:
        refused(http.post(CHAT, json={"model": "small", "messages": HELLO}))
    assert asked(simulators) == 1


@pytest.fixture
def keyless(simulators: Simulators, tmp_path: Path) -> Iterator[Instance]:
    with running(Instance(tmp_path, simulators.fill(PROVIDERS))) as started:
        yield started


def undecided(instance: Instance) -> int:
    with without_workers(instance):
        status = instance.ask("small").status_code
    until(lambda: instance.serving_workers() == 2)
    return status


def test_the_first_key_closes_the_door(keyless: Instance) -> None:
    """Without keys the default chain serves; once the first was made at run time, nobody is served undecided any more."""
    assert undecided(keyless) == 200
    keyless.admin.post(f"{keyless.admin_url}/keys", json={"tenant": "acme"}).raise_for_status()

    def is_closed() -> bool:
        routes = keyless.admin.get(f"{keyless.envoy_url}/config_dump?resource=dynamic_route_configs").text
        (table,) = json.loads(routes)["configs"]
        return any("direct_response" in route for route in table["route_config"]["virtual_hosts"][0]["routes"][:-1])

    until(is_closed, seconds=5)
    assert undecided(keyless) == 503
