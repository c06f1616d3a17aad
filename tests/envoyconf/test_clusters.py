"""Clusters: where a deployment is, how it is spoken to, and that one bad address stops nothing."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from router_extproc.envoyconf.clusters import build_clusters, judgement_timeout
from router_extproc.envoyconf.endpoint import Endpoint
from router_extproc.envoyconf.layout import Layout
from tests.envoyconf.providers import Providers, failure
from tests.envoyconf.running import Envoy
from tests.envoyconf.samples import Folders, configuration, registry_of
from tests.envoyconf.tickets import ticket


def clusters_of(folders: Folders, changes: dict[str, Any] | None = None) -> dict[str, Any]:
    config = configuration(changes)
    layout = Layout.of(folders, 1)
    built = build_clusters(config, registry_of(config), layout, "/etc/roots.pem", 1 << 20)
    return {cluster["name"]: cluster for cluster in built}


def one(folders: Folders, **provider: Any) -> dict[str, Any]:
    changes = {"providers": {"p": provider}, "models": {"m": {"deployments": [{"provider": "p"}]}}}
    (cluster,) = clusters_of(folders, changes).values()
    return cluster  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("base_url", "endpoint"),
    [
        (
            "https://api.example.com/v1",
            Endpoint(secure=True, host="api.example.com", port=443, authority="api.example.com", path="/v1"),
        ),
        (
            "https://api.example.com:8443",
            Endpoint(secure=True, host="api.example.com", port=8443, authority="api.example.com:8443", path="/"),
        ),
        (
            "http://10.0.0.1:8000/a/b/",
            Endpoint(secure=False, host="10.0.0.1", port=8000, authority="10.0.0.1:8000", path="/a/b"),
        ),
        ("http://[::1]:80/v1", Endpoint(secure=False, host="::1", port=80, authority="[::1]:80", path="/v1")),
    ],
)
def test_base_url_is_taken_apart(base_url: str, endpoint: Endpoint) -> None:
    """Host, port, Host header and base path are those of the URL."""
    assert Endpoint.of(base_url) == endpoint


def test_each_deployment_is_a_cluster(folders: Folders) -> None:
    """There is one cluster for each deployment, of the same name, that knows what Lua and the headers tell."""
    clusters = clusters_of(folders)
    assert list(clusters) == ["plain/small", "cloud/small@first", "cloud/small@2"]
    assert clusters["cloud/small@2"]["metadata"]["filter_metadata"]["router"] == {
        "model": "small",
        "tier": "standard",
        "provider_model": "vendor-small",
        "path": "/openai/v1",
        "host": "api.example.com",
    }


def test_name_of_the_certificate_is_the_host(folders: Folders) -> None:
    """The server is asked for by name, and its certificate must be for that name, signed by the system's authorities."""
    tls = one(folders, base_url="https://api.example.com/v1")["transport_socket"]["typed_config"]
    validation = tls["common_tls_context"]["validation_context"]
    assert tls["sni"] == "api.example.com"
    assert validation["match_typed_subject_alt_names"] == [{"san_type": "DNS", "matcher": {"exact": "api.example.com"}}]
    assert validation["trusted_ca"] == {"filename": "/etc/roots.pem"}


def test_own_authority_replaces_the_systems(folders: Folders) -> None:
    """A provider with an authority of its own is believed when that one signed, and no other."""
    tls = one(folders, base_url="https://10.0.0.1/v1", certificate_authority="/ca.pem")["transport_socket"]["typed_config"]
    assert tls["common_tls_context"]["validation_context"]["trusted_ca"] == {"filename": "/ca.pem"}
    assert "sni" not in tls


@pytest.mark.parametrize(
    ("version", "option", "protocol"), [("1.1", "http_protocol_options", "http/1.1"), ("2", "http2_protocol_options", "h2")]
)
def test_http_version_is_the_providers(folders: Folders, version: str, option: str, protocol: str) -> None:
    """The version that the file names is spoken, and offered in the TLS handshake."""
    cluster = one(folders, base_url="https://a.example/v1", http_version=version)
    options = cluster["typed_extension_protocol_options"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"]
    assert list(options["explicit_http_config"]) == [option]
    assert cluster["transport_socket"]["typed_config"]["common_tls_context"]["alpn_protocols"] == [protocol]


def test_circuit_breakers_are_the_providers(folders: Folders) -> None:
    """Envoy's default of 1,024 requests does not bound a provider; what the file says does."""
    thresholds = one(folders, base_url="http://a/v1", max_connections=7, max_requests=9)["circuit_breakers"]["thresholds"]
    assert {(each["max_connections"], each["max_requests"], each["max_pending_requests"]) for each in thresholds} == {(7, 9, 9)}


def test_provider_without_key_has_no_injector(folders: Folders) -> None:
    """A local model that needs no key is not refused for want of one."""
    options = one(folders, base_url="http://a/v1")["typed_extension_protocol_options"]
    (protocol,) = options.values()
    assert [each["name"] for each in protocol["http_filters"]] == [
        "prepare",
        "lua",
        "ext_proc.judge",
        "ext_proc.rename",
        "ext_proc.unpack",
        "answered",
        "strip",
        "codec",
    ]


def test_no_attempt_sees_the_key_of_the_one_before(folders: Folders) -> None:
    """What an attempt changed in the headers the next one finds: every provider's key goes before any leg is asked."""
    keyed = {"base_url": "https://p.example.com/v1", "credentials": [{"env": "KEY"}], "credential_header": "x-own-key"}
    plain = {"base_url": "https://q.example.com/v1"}
    models = {"m": {"deployments": [{"provider": "p"}, {"provider": "q"}]}}
    for cluster in clusters_of(folders, {"providers": {"p": keyed, "q": plain}, "models": models}).values():
        (options,) = cluster["typed_extension_protocol_options"].values()
        first = options["http_filters"][0]
        assert first["name"] == "prepare"
        removed = {each.get("remove") for each in first["typed_config"]["mutations"]["request_mutations"]}
        assert {"authorization", "api-key", "x-api-key", "x-own-key"} <= removed


def test_attempt_leg_may_hold_an_answer_as_long_as_a_route_allows() -> None:
    """Envoy waits for the attempt leg as long as the slowest rightful judgement takes."""
    routes = {"a": {"timeouts": {"first_token": "45s"}}, "b": {"check": {"answer": True}, "timeouts": {"deadline": "2m"}}}
    assert judgement_timeout(registry_of(configuration({"routes": routes}))) == 120_000
    assert judgement_timeout(registry_of(configuration({"routes": {"a": routes["a"]}}))) == 45_000
    assert judgement_timeout(registry_of(configuration())) == 0


@pytest.mark.end_to_end
class TestOutlierDetection:
    def test_429_counts(self, client: httpx.Client, live: Envoy, providers: Providers) -> None:
        """Ten 429 in a row are noticed; a single address stays in use, for its deployment's health is kept elsewhere."""
        providers.reset(c=failure(429))
        for _ in range(12):
            assert client.post("/v1/x", json={}, headers=ticket("c")).status_code == 429
        counters = live.stats("cluster.c.outlier_detection")
        assert counters["cluster.c.outlier_detection.ejections_detected_consecutive_5xx"] >= 1
        assert counters["cluster.c.outlier_detection.ejections_active"] == 0
        assert len(providers.asked) == 12

    def test_400_does_not(self, client: httpx.Client, live: Envoy, providers: Providers) -> None:
        """Errors of the caller's making never count."""
        providers.reset(d=failure(400))
        for _ in range(12):
            client.post("/v1/x", json={}, headers=ticket("d"))
        counters = live.stats("cluster.d.outlier_detection")
        assert counters["cluster.d.outlier_detection.ejections_detected_consecutive_5xx"] == 0
