"""The route table, as built and as the real Envoy follows it."""

from __future__ import annotations

import httpx
import pytest

from router_extproc.envoyconf.routes import build_routes, longest_request
from router_extproc.registry.catalogue import load_catalogue
from router_extproc.registry.compile import compile_registry
from tests.envoyconf.providers import Answer, Providers, stream
from tests.envoyconf.running import Envoy
from tests.envoyconf.samples import configuration, registry_of
from tests.envoyconf.tickets import ticket

CHAT = "/v1/chat/completions"
BODY = {"model": "auto", "messages": []}
EVENT = b'data: {"choices":[]}\n\n'
DONE = b"data: [DONE]\n\n"


def test_routes_with_equal_idle_timeouts_share_one_entry() -> None:
    """There is one Envoy route for each idle timeout that differs from the default, whatever the number of our routes."""
    settings = {"timeouts": {"stream_idle": "10m"}}
    config = configuration({"routes": {"one": settings, "two": settings, "three": {"timeouts": {"stream_idle": "5m"}}}})
    routes = build_routes(config, registry_of(config))["virtual_hosts"][0]["routes"]
    assert [route["name"] for route in routes] == ["stream-idle-600000-600000", "stream", "plain", "undecided", "not-found"]
    (_, names) = routes[0]["match"]["dynamic_metadata"]
    assert [each["string_match"]["exact"] for each in names["value"]["or_match"]["value_matchers"]] == ["one", "two"]


@pytest.mark.parametrize(
    ("timeouts", "idle", "whole"),
    [
        # Attempts of 120 s, as many as fit into the deadline of ten minutes, and five seconds more.
        ({}, "300.000s", "485.000s"),
        ({"attempt": "10s", "stream_idle": "30s"}, "30.000s", "45.000s"),
        ({"attempt": "10s", "stream_idle": "2m"}, "120.000s", "120.000s"),
        ({"deadline": "8s", "stream_idle": "3s"}, "3.000s", "13.000s"),
    ],
)
def test_stall_of_a_long_stream_is_ended_soon(timeouts: dict[str, str], idle: str, whole: str) -> None:
    """After an attempt's own time Envoy drops its idle timeout: then the client's ends a stall, once no attempt is left."""
    config = configuration({"routes": {"one": {"timeouts": timeouts}}})
    registry = compile_registry(config, load_catalogue())
    routes = build_routes(config, registry)["virtual_hosts"][0]["routes"]
    stream = routes[0]["route"]
    assert (stream["retry_policy"]["per_try_idle_timeout"], stream["idle_timeout"]) == (idle, whole)


def test_backstop_outlasts_every_deadline() -> None:
    """The idle timeout over all attempts never fires before a deadline does."""
    config = configuration({"routes": {"slow": {"timeouts": {"deadline": "1h"}}}})
    assert longest_request(config, registry_of(config)) > 3_600_000


def test_default_chain_may_be_empty() -> None:
    """Without a default chain what nobody decided goes to a cluster that does not exist, which Envoy answers with 503."""
    config = configuration()
    routes = build_routes(config, registry_of(config, ()))["virtual_hosts"][0]["routes"]
    chain = routes[-2]["route"]["inline_cluster_specifier_plugin"]["extension"]["typed_config"]
    assert [group["name"] for group in chain["priority_groups"]] == ["no-default-chain"]
    assert routes[-2]["route"]["retry_policy"]["num_retries"] == 0


@pytest.mark.end_to_end
class TestIdleTimeout:
    """The route brief has 600 ms, the routes patient and calm have 3 s, the listener's default is a minute."""

    def test_silent_stream_is_ended(self, client: httpx.Client, live: Envoy, providers: Providers) -> None:
        """A started stream that falls silent is cut, so that the client sees that it is not whole."""
        providers.reset(a=stream(EVENT, DONE, pause=1.2))
        with (
            client.stream("POST", CHAT, json=BODY, headers=ticket("a", stream=True, route="brief")) as answer,
            pytest.raises(httpx.RemoteProtocolError),
        ):
            answer.read()
        line = live.access_log(answer.headers["x-router-decision"])
        assert (line["details"], line["flags"]) == ("upstream_per_try_idle_timeout", "UT")

    def test_silent_attempt_moves_on(self, client: httpx.Client, providers: Providers) -> None:
        """A stream that stays silent before its first byte is left for the next deployment after the same time."""
        providers.reset(a=stream(EVENT, DONE, wait=2))
        answer = client.post(CHAT, json=BODY, headers=ticket("a", "b", stream=True, route="brief"))
        assert (answer.headers["x-router-deployment"], providers.names()) == ("b", ["a", "b"])

    @pytest.mark.parametrize("route", ["patient", "calm"])
    def test_route_has_its_own(self, client: httpx.Client, providers: Providers, route: str) -> None:
        """A route with a longer idle timeout keeps the same stream."""
        providers.reset(a=stream(EVENT, DONE, pause=1.2))
        answer = client.post(CHAT, json=BODY, headers=ticket("a", stream=True, route=route))
        assert answer.content == EVENT + DONE

    def test_plain_answer_may_take_its_time(self, client: httpx.Client, providers: Providers) -> None:
        """A plain answer is bounded by its deadline only: it is silent until it is complete."""
        providers.reset(a=Answer(wait=1.2))
        assert client.post(CHAT, json=BODY, headers=ticket("a", route="brief")).status_code == 200

    def test_running_stream_outlasts_every_timeout(self, client: httpx.Client, providers: Providers) -> None:
        """A stream that keeps sending is cut by neither its attempt timeout nor its deadline."""
        providers.reset(a=stream(*[EVENT] * 8, DONE, pause=0.3))
        limits = {"stream": True, "attempt_timeout_ms": 500, "deadline_ms": 1_000}
        assert client.post(CHAT, json=BODY, headers=ticket("a", **limits)).content == EVENT * 8 + DONE
