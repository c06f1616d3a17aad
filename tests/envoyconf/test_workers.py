"""Envoy and the workers: what happens when none is there, and when one comes back."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from router_extproc.envoyconf.matchers import only_when_ticket_asks
from router_extproc.envoyconf.workers import (
    UNLIMITED,
    judge_leg,
    observer_cluster,
    rename_leg,
    route_leg,
    unpack_leg,
    worker_cluster,
)
from tests.envoyconf.providers import Providers
from tests.envoyconf.running import Envoy, free_port
from tests.envoyconf.samples import configuration, registry_of
from tests.envoyconf.tickets import TicketWorker, ticket

CHAT = "/v1/chat/completions"
BUFFER = 1 << 20


def test_route_leg_is_one_exchange() -> None:
    """Headers and body leave together, nothing of the answer is asked for, and a missing worker lets the request pass."""
    config = route_leg()["typed_config"]
    mode = config["processing_mode"]
    assert (mode["request_body_mode"], config["send_body_without_waiting_for_header_response"]) == ("STREAMED", True)
    assert (mode["response_header_mode"], mode["response_body_mode"]) == ("SKIP", "NONE")
    assert config["failure_mode_allow"]


@pytest.mark.parametrize("leg", [rename_leg(), unpack_leg()])
def test_what_cannot_do_without_its_change_never_falls_open(leg: dict[str, dict[str, object]]) -> None:
    """A request that should have been renamed, or an answer unpacked, and was not, is a failure."""
    assert "failure_mode_allow" not in leg["typed_config"]
    assert leg["typed_config"]["status_on_error"] == {"code": "ServiceUnavailable"}


def test_an_answer_whose_judge_died_passes() -> None:
    """It is most likely a good one, and a stream that has begun must not be cut."""
    assert judge_leg(1)["typed_config"]["failure_mode_allow"]


def test_legs_tell_themselves_apart() -> None:
    """A worker knows the leg by the stream's own metadata."""
    told = [leg["typed_config"]["grpc_service"]["initial_metadata"][0] for leg in (route_leg(), rename_leg(), judge_leg(1))]
    assert told == [{"key": "leg", "value": value} for value in ("route", "rename", "judge")]


def test_envoy_says_the_name_of_its_life() -> None:
    """To whoever sets something aside for its requests, and, without any request, to whoever gives that back."""
    life = {"key": "envoy-life", "value": "%ENVIRONMENT(ROUTER_ENVOY_LIFE)%"}
    assert life in route_leg()["typed_config"]["grpc_service"]["initial_metadata"]
    [check] = observer_cluster(Path("/o"), BUFFER)["health_checks"]
    assert check["grpc_health_check"] == {"initial_metadata": [{"header": life}]}


def test_wait_for_a_judgement_outlasts_it() -> None:
    """Envoy waits longer than the leg may hold an answer."""
    assert judge_leg(45_000)["typed_config"]["message_timeout"] == "55.000s"


def test_workers_are_never_short_of_streams() -> None:
    """No default of Envoy's bounds how many requests are decided at once."""
    for cluster in (worker_cluster((Path("/w"),), BUFFER), observer_cluster(Path("/o"), BUFFER)):
        for bounds in cluster["circuit_breakers"]["thresholds"]:
            assert {value for key, value in bounds.items() if key != "priority"} == {UNLIMITED}


def test_skipped_without_a_ticket() -> None:
    """The filter is skipped unless the ticket says "1": a request without ticket never waits for a worker."""
    matcher = only_when_ticket_asks(rename_leg(), "rename", later=True)["typed_config"]["xds_matcher"]["matcher_list"][
        "matchers"
    ][0]
    asked, not_first = matcher["predicate"]["not_matcher"]["and_matcher"]["predicate"]
    assert asked["single_predicate"]["custom_match"]["typed_config"]["value"] == {"string_match": {"exact": "1"}}
    assert not_first["not_matcher"]["single_predicate"]["value_match"] == {"exact": "1"}


@pytest.fixture
def alone(providers: Providers) -> Iterator[Envoy]:
    """Envoy without any worker."""
    config = configuration(
        {
            "listener": {"port": free_port()},
            "envoy": {"admin_port": free_port()},
            "providers": {"a": {"base_url": providers.url("a")}},
            "models": {"m": {"deployments": [{"provider": "a", "name": "a", "model": "vendor-a"}]}},
        }
    )
    providers.reset()
    with tempfile.TemporaryDirectory() as folder:
        envoy = Envoy(Path(folder), config, registry_of(config))
        yield envoy.start()
        envoy.stop()


@pytest.mark.end_to_end
def test_default_chain_serves_without_workers(alone: Envoy, providers: Providers) -> None:
    """With every worker gone requests are served, and say in header and log that nobody decided; a worker is used again."""
    answer = httpx.post(alone.url + CHAT, json={"model": "auto"}, headers=ticket("a"), trust_env=False)
    assert (answer.status_code, answer.headers["x-router-degraded"]) == (200, "router-unavailable")
    assert providers.asked[0].body == b'{"model":"vendor-a"}'
    assert alone.access_log(answer.headers["x-router-decision"])["degraded"] == "router-unavailable"

    worker = TicketWorker(alone.folders.sockets / "worker-0.sock")
    try:

        def is_decided() -> bool:
            decided = httpx.post(alone.url + CHAT, json={"model": "auto"}, headers=ticket("a"), trust_env=False)
            return "x-router-degraded" not in decided.headers and decided.headers["x-router-reason"] == "test"

        alone.until(is_decided, 5)
    finally:
        worker.stop()
