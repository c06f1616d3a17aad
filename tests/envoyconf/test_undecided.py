"""Requests that no worker decided, in the real Envoy: refused where they must be, whatever they look like."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from router_extproc.envoyconf.undecided import refuses_undecided, undecided_routes
from router_extproc.registry.snapshot import Registry, Route
from router_extproc.registry.spending import AuthSettings, Spending
from tests.envoyconf.providers import Providers
from tests.envoyconf.running import Envoy, free_port
from tests.envoyconf.samples import configuration, registry_of
from tests.envoyconf.tickets import TicketWorker, ticket

CHAT = "/v1/chat/completions"
REFUSES = Spending(refuses_undecided=True)
ACTION = {"timeout": "0s"}


def names_of(registry: Registry, *, keys_exist: bool = False) -> list[str]:
    return [route["name"] for route in undecided_routes(registry, ACTION, keys_exist=keys_exist)]


def doors_of(registry: Registry) -> dict[str, bool]:
    refusal = undecided_routes(registry, ACTION, keys_exist=False)[-1]
    doors: dict[str, bool] = refusal["metadata"]["filter_metadata"]["undecided"]["doors"]
    return doors


def test_by_default_the_default_chain_serves() -> None:
    """Where nobody is asked for anything, what no worker decided is served."""
    assert undecided_routes(Registry(), ACTION, keys_exist=False)[0]["route"] == ACTION


def test_refused_without_exception_there_is_no_way_in() -> None:
    """Where all is refused there is one route, which answers by itself."""
    (route,) = undecided_routes(Registry(spending=REFUSES), ACTION, keys_exist=False)
    assert route["direct_response"]["status"] == 503
    assert "route" not in route


@pytest.mark.parametrize(
    ("spending", "refuses"),
    [
        (Spending(), True),
        (Spending(on_router_failure="allow"), False),
        (Spending(auth=AuthSettings(mode="none")), False),
        (REFUSES, True),
    ],
)
def test_keys_made_at_run_time_close_the_door(spending: Spending, *, refuses: bool) -> None:
    """From the first key on undecided requests are refused, unless the file says whom it lets in."""
    assert refuses_undecided(Registry(spending=spending), keys_exist=True) is refuses


def test_exceptions_hold_for_aliases_too() -> None:
    """A route that says otherwise does so under each of its names."""
    routes = {
        "open": Route("open", on_router_failure="allow"),
        "shut": Route("shut", on_router_failure="refuse"),
        "x": Route("x"),
    }
    aliases = {"also-open": "open", "y": "x"}
    registry = Registry(routes=routes, aliases=aliases, spending=REFUSES)
    assert doors_of(registry) == {"open": True, "shut": False, "also-open": True}
    assert names_of(registry) == ["undecided-allowed", "undecided"]
    assert names_of(Registry(routes={"shut": routes["shut"]}, spending=REFUSES)) == ["undecided"]
    assert names_of(Registry(routes={"shut": routes["shut"]})) == ["undecided-allowed", "undecided"]


def test_a_pattern_lets_only_those_through_that_have_no_route_of_their_own() -> None:
    """A model that a pattern would match, but that has a route of its own, is what that route says."""
    routes = {"any-*": Route("any-*", on_router_failure="allow"), "any-blue": Route("any-blue"), "b": Route("b")}
    doors = doors_of(Registry(routes=routes, aliases={"blue": "any-blue"}, spending=REFUSES))
    assert doors == {"any-*": True, "any-blue": False, "b": False, "blue": False}


@pytest.fixture(scope="module")
def envoy(providers: Providers) -> Iterator[Envoy]:
    """No worker decides without a test's ticket; the routes ``open`` and ``any-*`` may be served all the same."""
    config = configuration(
        {
            "listener": {"port": free_port()},
            "envoy": {"admin_port": free_port()},
            "limits": {"max_body_bytes": "24MiB"},
            "providers": {"a": {"base_url": providers.url("a")}},
            "models": {"model-a": {"deployments": [{"provider": "a", "model": "vendor-a", "name": "a"}]}},
        },
        base={},
    )
    routes = {
        "open": Route("open", on_router_failure="allow"),
        "any-*": Route("any-*", on_router_failure="allow"),
        "any-shut": Route("any-shut", on_router_failure="refuse"),
        "auto": Route("auto"),
    }
    registry = msgspec.structs.replace(registry_of(config), routes=routes, aliases={"alias": "open"}, spending=REFUSES)
    with tempfile.TemporaryDirectory() as folder:
        envoy = Envoy(Path(folder), config, registry)
        worker = TicketWorker(envoy.folders.sockets / "worker-0.sock")
        try:
            envoy.start()
            envoy.until(lambda: envoy.stats("cluster.extproc.membership_healthy").popitem()[1] == 1)
            yield envoy
        finally:
            envoy.stop()
            worker.stop()


@pytest.mark.end_to_end
class TestRefused:
    @pytest.fixture
    def client(self, envoy: Envoy, providers: Providers) -> Iterator[httpx.Client]:
        providers.reset()
        with httpx.Client(base_url=envoy.url, trust_env=False, timeout=20) as running:
            yield running

    @pytest.mark.parametrize(
        "body",
        [
            b'{"model":"auto"}',
            b'{"model":"model-a"}',
            b'{"model":"any-shut"}',
            b'{"model":"op\\u0065n"}',
            b'{"messages":[{"model":"open"}]}',
            b'{"x":{"model":"open"},"model":"auto"}',
            b'{"model":["open"]}',
            b'{"model":"open',
            b'["model","open"]',
            b"model=open",
            b"",
            b'{"model":"auto","content":"' + b"x" * 200_000 + b'"}',
            b'{"content":"' + b"x" * (20 << 20) + b'"}',
        ],
    )
    def test_nobody_is_served(self, envoy: Envoy, client: httpx.Client, providers: Providers, body: bytes) -> None:
        """Whatever the body, nobody is called, and the client is told to come back."""
        answer = client.post(CHAT, content=body, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["error"]["code"] == "router_unavailable"
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-router-reason"] == "router_unavailable"
        assert answer.headers["x-router-degraded"] == "router-unavailable"
        assert not providers.asked
        line = envoy.access_log(answer.headers["x-router-decision"])
        assert (line["status"], line["degraded"], line["attempts"]) == (503, "router-unavailable", 0)

    @pytest.mark.parametrize("path", ["/v1/models", "/v1/files", "/v1/chat/completions?model=open"])
    def test_nor_without_a_body(self, client: httpx.Client, providers: Providers, path: str) -> None:
        """A GET is refused as well."""
        assert client.get(path).status_code == 503
        assert not providers.asked

    @pytest.mark.parametrize("model", ["open", "alias", "any-", "any-thing"])
    @pytest.mark.parametrize("size", [0, 200_000, 20 << 20])
    def test_what_its_route_allows_is_served(
        self, envoy: Envoy, client: httpx.Client, providers: Providers, model: str, size: int
    ) -> None:
        """A route that allows it is served by the default chain, under each of its names and at any size."""
        body = json.dumps({"content": "x" * size, "model": model}).encode()
        answer = client.post(CHAT, content=body, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.headers["x-router-degraded"]) == (200, "router-unavailable")
        assert providers.asked[0].body == body.replace(f'"{model}"'.encode(), b'"vendor-a"')
        assert envoy.access_log(answer.headers["x-router-decision"])["degraded"] == "router-unavailable"

    @pytest.mark.parametrize("size", [0, 20 << 20])
    def test_what_a_worker_decided_is_served(self, client: httpx.Client, providers: Providers, size: int) -> None:
        """With a ticket all is as ever, large bodies too."""
        answer = client.post(CHAT, content=b"x" * size, headers=ticket("a"))
        assert (answer.status_code, answer.headers["x-router-reason"]) == (200, "test")
        assert len(providers.asked[0].body) == size
