"""The listener that clients connect to: TLS, HTTP, and the filters each request passes in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from router_extproc.config.schema import RouterConfig
from router_extproc.envoyconf import access_logs, names
from router_extproc.envoyconf.identity import peer_validation, token_filters
from router_extproc.envoyconf.layout import Layout
from router_extproc.envoyconf.local_reply import local_reply_config
from router_extproc.envoyconf.matchers import only_for_unasked_usage, when_undecided
from router_extproc.envoyconf.messages import (
    Message,
    duration,
    extension,
    file_source,
    remove_prefix,
    set_header,
    socket_address,
    typed,
)
from router_extproc.envoyconf.usage import usage_filters
from router_extproc.envoyconf.workers import route_leg, route_leg_again

MAX_ANSWER_BYTES = 64 << 20
"""Largest answer that Envoy may hold at once: plain JSON answers are held whole to read their token counts."""

CLIENT_CREDENTIALS = ("authorization", "api-key", "x-api-key", "x-goog-api-key", "cookie", "proxy-authorization")
"""Request headers by which clients identify themselves to the router; no provider may see them."""

_BUFFER = "extensions.filters.http.buffer.v3.Buffer"
_HEADER_MUTATION = "extensions.filters.http.header_mutation.v3.HeaderMutation"


def buffer_bytes(config: RouterConfig) -> int:
    """What one connection may hold: the largest body or answer, and a little for framing."""
    return max(config.limits.max_body_bytes, MAX_ANSWER_BYTES) + (1 << 20)


def build_listener(config: RouterConfig, layout: Layout, token_keys: Message | None = None) -> Message:
    """The one listener of the configuration. ``token_keys`` is as in ``identity.token_filters``."""
    chain: Message = {"filters": [_connection_manager(config, layout, token_keys)]}
    if config.listener.tls is not None:
        chain["transport_socket"] = _server_tls(config, layout)
    return {
        "name": names.LISTENER,
        "address": socket_address(config.listener.address, config.listener.port),
        "per_connection_buffer_limit_bytes": buffer_bytes(config),
        # Without it a client that never finishes its TLS handshake holds a connection for ever.
        "filter_chains": [chain | {"transport_socket_connect_timeout": "15s"}],
    }


def _server_tls(config: RouterConfig, layout: Layout) -> Message:
    certificate = {
        "name": names.SERVER_CERTIFICATE,
        "sds_config": file_source(layout.secrets / f"{names.SERVER_CERTIFICATE}.json"),
    }
    return extension(
        "envoy.transport_sockets.tls",
        "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        common_tls_context={
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_certificate_sds_secret_configs": [certificate],
            **peer_validation(config, layout.secrets),
        },
        require_client_certificate=config.auth.mesh is not None,
    )


def _connection_manager(config: RouterConfig, layout: Layout, token_keys: Message | None) -> Message:
    return extension(
        "http",
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=names.LISTENER,
        codec_type="AUTO",
        http2_protocol_options={"max_concurrent_streams": 10_000},
        # The peer's address is the client's: no header of a client makes it "internal" or trusted.
        use_remote_address=True,
        normalize_path=True,
        generate_request_id=True,
        early_header_mutation_extensions=[_early_header_mutation(config)],
        request_headers_timeout="15s",
        stream_idle_timeout=duration(config.defaults.timeouts.stream_idle),
        common_http_protocol_options={"idle_timeout": "3600s"},
        rds={"route_config_name": names.ROUTES, "config_source": file_source(layout.routes)},
        local_reply_config=local_reply_config(),
        http_filters=http_filters(config, layout, token_keys),
        access_log=[access_logs.to_observer(names.REQUEST_LOG), access_logs.requests_to_file(layout.access_log)],
    )


def _early_header_mutation(config: RouterConfig) -> Message:
    """Envoy's own control headers, the request id and proofs of identity are Envoy's to set: a client's go first of all."""
    forged = ("x-request-id", "x-forwarded-for", names.PEER, names.JWT)
    mutations: list[Message] = [remove_prefix("x-envoy-"), *({"remove": header} for header in forged)]
    mutations.append({"append": set_header(names.SIZE, "%REQ(content-length)%")})
    if config.auth.mesh is not None:
        mutations.append({"append": set_header(names.PEER, "%DOWNSTREAM_PEER_URI_SAN%")})
    return extension(
        "envoy.http.early_header_mutation.header_mutation",
        "extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
        mutations=mutations,
    )


def http_filters(config: RouterConfig, layout: Layout, token_keys: Message | None = None) -> list[Message]:
    """The filters in request order; on the answer they run in reverse."""
    limit = config.limits.max_body_bytes
    return [
        *token_filters(config, token_keys),
        only_for_unasked_usage(_script(names.USAGE_ONLY, layout.usage_script)),
        _buffer("body", limit),
        *usage_filters(),
        route_leg(),
        *route_leg_again(),
        when_undecided(_script(names.UNDECIDED, layout.undecided_script)),
        # ext_proc removes content-length from a streamed body; this buffer puts the right one back.
        _buffer("length", limit),
        _strip(),
        extension(
            "router",
            "extensions.filters.http.router.v3.Router",
            suppress_envoy_headers=True,
            upstream_log=[access_logs.to_observer(names.ATTEMPT_LOG), access_logs.attempts_to_file(layout.access_log)],
        ),
    ]


def _script(name: str, path: Path) -> Message:
    return extension(name, "extensions.filters.http.lua.v3.Lua", default_source_code={"filename": str(path)})


def _buffer(name: str, limit: int) -> Message:
    return extension(name, _BUFFER, max_request_bytes=limit)


def _strip() -> Message:
    """What was meant for the router stays here; compressed answers would blind the token counts and the stream check."""
    # x-forwarded-proto must stay until the upstream filters: Envoy routes by it again after the ticket is set.
    mutations: list[Any] = [remove_prefix("x-router-"), *({"remove": header} for header in CLIENT_CREDENTIALS)]
    mutations.append({"append": set_header("accept-encoding", "identity")})
    return extension("strip", _HEADER_MUTATION, mutations={"request_mutations": mutations})


def without_filters() -> Message:
    """Per-route overrides for paths that Envoy answers alone: nothing is buffered and no worker is asked."""
    return {
        "body": typed("extensions.filters.http.buffer.v3.BufferPerRoute", disabled=True),
        "length": typed("extensions.filters.http.buffer.v3.BufferPerRoute", disabled=True),
        "ext_proc.route": typed("extensions.filters.http.ext_proc.v3.ExtProcPerRoute", disabled=True),
        names.PAUSE: typed("config.route.v3.FilterConfig", disabled=True),
        names.ROUTE_LEG_AGAIN: typed("config.route.v3.FilterConfig", disabled=True),
        names.UNDECIDED: typed("config.route.v3.FilterConfig", disabled=True),
    }
