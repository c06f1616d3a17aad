"""Finds out before anything is started whether its ports can be had, so that an error says what to change."""

from __future__ import annotations

import socket

from router_extproc.config.schema import RouterConfig
from router_extproc.errors import StartError


def require_free_ports(config: RouterConfig, *, with_envoy: bool) -> None:
    """Tries every address that this instance will listen on.

    Raises:
        StartError: one is taken or may not be used.
    """
    _require("admin.port", "--admin-port", config.admin.address, config.admin.port)
    if with_envoy:
        _require("listener.port", "--port", config.listener.address, config.listener.port)
        _require("envoy.admin_port", "--envoy-admin-port", config.envoy.admin_address, config.envoy.admin_port)


def _require(key: str, option: str, address: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM) as trial:
        # Connections that ended a moment ago do not count.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((address, port))
        except OSError as error:
            reason = f"{key}: cannot listen on {address}:{port}: {error.strerror}"
            raise StartError(f"{reason}; set {key} in router.yaml, or {option} on the command line, to a free port") from error
