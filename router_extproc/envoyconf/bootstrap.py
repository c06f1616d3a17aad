"""What Envoy reads once at start: who it is, its admin address, the clusters of our own processes, where the rest lies."""

from __future__ import annotations

from router_extproc.config.schema import RouterConfig
from router_extproc.envoyconf.layout import Layout
from router_extproc.envoyconf.messages import Message, extension, file_source, socket_address
from router_extproc.envoyconf.workers import observer_cluster, worker_cluster

MAX_CLIENT_CONNECTIONS = 50_000
"""Connections that clients may hold at once; without a bound one client can exhaust the machine's file descriptors."""


def build_bootstrap(config: RouterConfig, layout: Layout, buffer_bytes: int) -> Message:
    """The bootstrap; everything that a reload may change is named here and lives in files of its own."""
    return {
        # Both are needed: secrets from files are refused without them.
        "node": {"id": "router-extproc", "cluster": "router-extproc"},
        "admin": {"address": socket_address(config.envoy.admin_address, config.envoy.admin_port)},
        "dynamic_resources": {
            "lds_config": file_source(layout.listeners),
            "cds_config": file_source(layout.clusters),
        },
        "static_resources": {
            "clusters": [
                worker_cluster(layout.workers, buffer_bytes),
                observer_cluster(layout.observer, buffer_bytes),
            ],
        },
        "overload_manager": {
            "resource_monitors": [
                extension(
                    "envoy.resource_monitors.global_downstream_max_connections",
                    "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                    max_active_downstream_connections=MAX_CLIENT_CONNECTIONS,
                ),
            ],
        },
    }
