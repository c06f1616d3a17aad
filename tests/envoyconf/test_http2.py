"""A provider that speaks HTTP/2 only: a second Envoy in front of the scripted ones."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from router_extproc.envoyconf.messages import HTTP_PROTOCOL_OPTIONS, extension, socket_address, typed
from tests.envoyconf.providers import Providers, failure, stream
from tests.envoyconf.running import ENVOY, Envoy, free_port
from tests.envoyconf.samples import configuration, registry_of

CHAT = "/v1/chat/completions"
EVENT = b'data: {"choices":[]}\n\n'
DONE = b"data: [DONE]\n\n"

pytestmark = pytest.mark.end_to_end


def http2_front(port: int, provider_port: int) -> dict[str, Any]:
    """Envoy as a server of HTTP/2 without TLS."""
    cluster = {
        "name": "providers",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": "providers",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket_address("127.0.0.1", provider_port)}}]}],
        },
        "typed_extension_protocol_options": {
            HTTP_PROTOCOL_OPTIONS: typed(
                "extensions.upstreams.http.v3.HttpProtocolOptions", explicit_http_config={"http_protocol_options": {}}
            )
        },
    }
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "providers", "timeout": "0s"}}]
    manager = extension(
        "http",
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="front",
        codec_type="HTTP2",
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        http_filters=[extension("router", "extensions.filters.http.router.v3.Router")],
    )
    listener = {"name": "front", "address": socket_address("127.0.0.1", port), "filter_chains": [{"filters": [manager]}]}
    return {"static_resources": {"clusters": [cluster], "listeners": [listener]}}


@pytest.fixture(scope="module")
def http2(providers: Providers) -> Iterator[Envoy]:
    """Envoy whose default chain is two deployments of a provider that speaks HTTP/2."""
    front_port = free_port()
    url = f"http://127.0.0.1:{front_port}"
    config = configuration(
        {
            "listener": {"port": free_port()},
            "envoy": {"admin_port": free_port()},
            "providers": {name: {"base_url": f"{url}/{name}/v1", "http_version": "2"} for name in ("a", "b")},
            "models": {name: {"deployments": [{"provider": name, "name": name}]} for name in ("a", "b")},
        }
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "front.json").write_text(json.dumps(http2_front(front_port, providers.port)))
        command = [ENVOY, "-c", folder / "front.json", "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
        front = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        envoy = Envoy(folder, config, registry_of(config)).start()
        try:
            providers.reset()
            envoy.until(lambda: ask(envoy).status_code == 200)
            yield envoy
        finally:
            envoy.stop()
            front.terminate()
            front.wait(10)


def ask(envoy: Envoy) -> httpx.Response:
    return httpx.post(envoy.url + CHAT, json={"model": "x"}, trust_env=False)


def test_plain_answer(http2: Envoy, providers: Providers) -> None:
    """A request goes over HTTP/2 with the provider's path and model."""
    providers.reset()
    assert ask(http2).headers["x-router-deployment"] == "a"
    assert (providers.asked[0].path, providers.asked[0].body) == ("/a/v1/chat/completions", b'{"model":"a"}')
    assert http2.stats("cluster.a.upstream_cx_http2_total")["cluster.a.upstream_cx_http2_total"] > 0


def test_failure_moves_on(http2: Envoy, providers: Providers) -> None:
    """A failed attempt is followed by the next over the same protocol."""
    providers.reset(a=failure(429))
    assert ask(http2).headers["x-router-deployment"] == "b"


def test_complete_stream(http2: Envoy, providers: Providers) -> None:
    """A complete stream is left alone."""
    providers.reset(a=stream(EVENT, DONE, pause=0.02))
    assert ask(http2).content == EVENT + DONE


def test_stream_that_ends_early(http2: Envoy, providers: Providers) -> None:
    """The end of an HTTP/2 stream, which comes by itself, still lets the error event through."""
    providers.reset(a=stream(EVENT, EVENT, pause=0.02))
    content = ask(http2).content
    assert content.startswith(EVENT * 2)
    assert b"stream_incomplete" in content
