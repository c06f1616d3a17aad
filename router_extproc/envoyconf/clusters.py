"""One cluster for each deployment: where it is, how to speak to it, and the filters every attempt passes."""

from __future__ import annotations

from router_extproc.config.schema import Provider, RouterConfig
from router_extproc.envoyconf import names
from router_extproc.envoyconf.endpoint import Endpoint
from router_extproc.envoyconf.identity import FETCH_TIMEOUT_MS, token_keys_endpoint
from router_extproc.envoyconf.layout import Layout
from router_extproc.envoyconf.messages import (
    HTTP_PROTOCOL_OPTIONS,
    Message,
    duration,
    extension,
    socket_address,
    typed,
)
from router_extproc.envoyconf.secrets import credentials_by_deployment
from router_extproc.envoyconf.upstream_filters import upstream_filters
from router_extproc.envoyconf.upstream_tls import upstream_tls
from router_extproc.envoyconf.workers import circuit_breakers
from router_extproc.registry.snapshot import Deployment, Model, Registry

IDLE_CONNECTION_MS = 50_000
"""How long an unused connection is kept: less than the 60 s after which common load balancers drop theirs, so that a
request rarely meets a connection that is just being closed."""


MAX_EJECTION_PERCENT = 40
"""Below one of two: with one real address, even beside the refusing one, nothing is ever left out."""

REFUSING_ADDRESS = ("127.0.0.1", 1)
"""Nobody listens there: connecting fails at once."""

# Envoy counts what matches as failures of the address; by itself it would not count 429.
_FAILURES = {"headers": [{"name": ":status", "string_match": {"safe_regex": {"regex": "429|5.."}}}]}


def build_clusters(config: RouterConfig, registry: Registry, layout: Layout, roots: str, buffer_bytes: int) -> list[Message]:
    """All provider clusters, in the registry's order, and that of the tokens' issuer.

    ``roots`` is the system's bundle of certificate authorities.
    """
    judgement_ms = judgement_timeout(registry)
    keys = credentials_by_deployment(config)
    key_headers = {provider.credential_header for provider in config.providers.values()}
    clusters = []
    for model in registry.models.values():
        for deployment in model.deployments:
            provider = config.providers[deployment.provider]
            filters = upstream_filters(layout, provider, keys[deployment.name], key_headers, judgement_ms)
            cluster = _cluster(model, deployment, provider, roots)
            cluster["per_connection_buffer_limit_bytes"] = buffer_bytes
            cluster["typed_extension_protocol_options"] = {HTTP_PROTOCOL_OPTIONS: _protocol(provider, filters)}
            clusters.append(cluster)
    issuer = token_keys_endpoint(config)
    return clusters if issuer is None else [*clusters, _token_keys_cluster(issuer, roots)]


def judgement_timeout(registry: Registry) -> int:
    """The longest an attempt leg may rightly keep Envoy waiting, in milliseconds: it holds an answer while it judges it.

    Envoy's own timeout of an attempt still runs meanwhile, so a stuck worker does not hold a request this long.
    """
    waits = [0]
    for route in registry.routes.values():
        waits.append(route.first_token_timeout_ms or 0)
        if route.check_answer:
            waits.append(route.attempt_timeout_ms or route.deadline_ms)
    return max(waits)


def _cluster(model: Model, deployment: Deployment, provider: Provider, roots: str) -> Message:
    endpoint = Endpoint.of(provider.base_url)
    cluster: Message = {
        "name": deployment.name,
        "connect_timeout": duration(provider.connect_timeout),
        "load_assignment": {"cluster_name": deployment.name, **_addresses(endpoint)},
        "circuit_breakers": circuit_breakers(provider.max_connections, provider.max_requests),
        "outlier_detection": _outlier_detection(provider),
        "upstream_connection_options": {
            "tcp_keepalive": {"keepalive_probes": 3, "keepalive_time": 30, "keepalive_interval": 10},
        },
        "metadata": {"filter_metadata": {names.TICKET: _metadata(model, deployment, endpoint)}},
    }
    cluster |= {"type": "STATIC"} if endpoint.is_address else {"cluster_type": _dns()}
    if endpoint.secure:
        protocol = "h2" if provider.http_version == "2" else "http/1.1"
        cluster["transport_socket"] = upstream_tls(endpoint, provider.certificate_authority or roots, protocol)
    return cluster


def _token_keys_cluster(endpoint: Endpoint, roots: str) -> Message:
    addresses = [{"lb_endpoints": [_endpoint(endpoint.host, endpoint.port)]}]
    cluster: Message = {
        "name": names.TOKEN_KEYS,
        "connect_timeout": duration(FETCH_TIMEOUT_MS),
        "load_assignment": {"cluster_name": names.TOKEN_KEYS, "endpoints": addresses},
    }
    cluster |= {"type": "STATIC"} if endpoint.is_address else {"cluster_type": _dns()}
    if endpoint.secure:
        cluster["transport_socket"] = upstream_tls(endpoint, roots, "http/1.1")
    return cluster


def _addresses(endpoint: Endpoint) -> Message:
    """The provider's address, and behind a name one that always refuses.

    Envoy answers 503 without trying the next group when a cluster has no address at all, as with a name that cannot be
    resolved. A refused connection it does retry. The overprovisioning factor keeps everything on the provider's own
    addresses as long as one of a hundred is in use.
    """
    real = {"lb_endpoints": [_endpoint(endpoint.host, endpoint.port)]}
    if endpoint.is_address:
        return {"endpoints": [real]}
    refusing = {"priority": 1, "lb_endpoints": [_endpoint(*REFUSING_ADDRESS)]}
    return {"endpoints": [real, refusing], "policy": {"overprovisioning_factor": 10_000}}


def _endpoint(host: str, port: int) -> Message:
    return {"endpoint": {"address": socket_address(host, port)}}


def _outlier_detection(provider: Provider) -> Message:
    """A provider's address that keeps failing is left out while others of its addresses serve.

    A single address is never left out: that is the deployment's health, which the observer keeps with probes.
    """
    return {
        "consecutive_5xx": provider.outlier.consecutive_failures,
        "enforcing_consecutive_5xx": 100,
        "consecutive_gateway_failure": provider.outlier.consecutive_failures,
        "enforcing_consecutive_gateway_failure": 100,
        "enforcing_success_rate": 0,
        "base_ejection_time": duration(provider.outlier.ejection_time),
        "max_ejection_time": duration(provider.outlier.ejection_time),
        "max_ejection_percent": MAX_EJECTION_PERCENT,
    }


def _dns() -> Message:
    """Names are resolved again as their records expire; every address found is used."""
    return extension(
        "envoy.clusters.dns",
        "extensions.clusters.dns.v3.DnsCluster",
        dns_lookup_family="V4_PREFERRED",
        respect_dns_ttl=True,
        dns_refresh_rate="30s",
        # A resolver that does not answer must not keep Envoy from starting for long.
        typed_dns_resolver_config=extension(
            "envoy.network.dns_resolver.cares",
            "extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
            query_timeout_seconds=2,
            query_tries=2,
        ),
    )


def _metadata(model: Model, deployment: Deployment, endpoint: Endpoint) -> Message:
    """What router.lua, the attempt leg and the response headers know about a deployment."""
    return {
        "model": model.name,
        "tier": model.tier.label,
        "provider_model": deployment.provider_model,
        "path": endpoint.path,
        "host": endpoint.authority,
    }


def _protocol(provider: Provider, filters: list[Message]) -> Message:
    if provider.http_version == "2":
        keepalive = {"interval": "30s", "timeout": "10s"}
        explicit: Message = {"http2_protocol_options": {"connection_keepalive": keepalive}}
    else:
        explicit = {"http_protocol_options": {}}
    return typed(
        "extensions.upstreams.http.v3.HttpProtocolOptions",
        explicit_http_config=explicit,
        common_http_protocol_options={"idle_timeout": duration(IDLE_CONNECTION_MS)},
        outlier_detection={"error_matcher": {"http_response_headers_match": _FAILURES}},
        http_filters=filters,
    )
