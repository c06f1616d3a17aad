"""Ports that the command line gives: they come before those of ``router.yaml`` and the defaults."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from router_extproc.config.schema import RouterConfig
from router_extproc.errors import ConfigurationError, Problem

_COMMAND_LINE = "(command line)"
_HIGHEST = 65_535
# Where each port stands in a configuration, and the option that gives it another.
_OPTIONS = {
    ("listener", "port"): "--port",
    ("admin", "port"): "--admin-port",
    ("envoy", "admin_port"): "--envoy-admin-port",
}

Ports = Mapping[tuple[str, str], int]
"""Ports by section and key of ``router.yaml``."""


def add_port_arguments(parser: argparse.ArgumentParser) -> None:
    """An option for each port that an instance listens on."""
    for (section, key), option in _OPTIONS.items():
        parser.add_argument(option, type=_port, metavar="PORT", help=f"instead of {section}.{key}")


def ports_of(arguments: argparse.Namespace) -> Ports:
    """The ports that were given."""
    given = {place: getattr(arguments, option.removeprefix("--").replace("-", "_")) for place, option in _OPTIONS.items()}
    return {place: port for place, port in given.items() if port is not None}


def with_ports(config: RouterConfig, ports: Ports) -> RouterConfig:
    """The configuration with these ports.

    Raises:
        ConfigurationError: it would listen twice on one port.
    """
    for (section, key), port in ports.items():
        config = config.model_copy(update={section: getattr(config, section).model_copy(update={key: port})})
    used: dict[int, str] = {}
    for (section, key), option in _OPTIONS.items():
        port = getattr(getattr(config, section), key)
        if port in used:
            message = f"port {port} is also that of {used[port]}"
            problem = Problem(
                _COMMAND_LINE, 1, 1, f"{section}.{key}", message, fix=f"give another with {option}", code="port_taken"
            )
            raise ConfigurationError((problem,))
        used[port] = f"{section}.{key}"
    return config


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(_HIGHEST)) and 1 <= int(text) <= _HIGHEST):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1 to {_HIGHEST}")
    return int(text)
