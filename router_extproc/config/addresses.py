"""Where the processes listen: no plain HTTP beyond the machine by accident, no port used twice."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from router_extproc.config.redaction import shown
from router_extproc.config.schema import RouterConfig
from router_extproc.config.source import Path, Source, dotted
from router_extproc.errors import Problem


def is_loopback(address: str) -> bool:
    """Whether only this machine can connect to the address."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def check_addresses(config: RouterConfig, source: Source) -> Iterator[Problem]:
    """Listeners that are unsafe, addresses that are none, ports that collide, limits that contradict each other."""
    listener = config.listener
    places: dict[Path, str] = {
        ("listener", "address"): listener.address,
        ("admin", "address"): config.admin.address,
        ("envoy", "admin_address"): config.envoy.admin_address,
    }
    for path, address in places.items():
        if not is_address(address):
            message = f"`{shown(address)}` is not an IP address"
            yield source.problem(path, message, fix="write 127.0.0.1 or 0.0.0.0", code="wrong_form")
    if is_address(listener.address) and not (listener.tls or listener.plain or is_loopback(listener.address)):
        message = f"plain HTTP on {listener.address} would send prompts unencrypted beyond this machine"
        yield source.problem(
            ("listener", "address"),
            message,
            fix="set listener.tls, or listener.plain: true behind a mesh",
            code="unsafe_listener",
        )
    yield from _collisions(config, source)
    if config.limits.max_body_bytes_in_flight < config.limits.max_body_bytes:
        message = "is below max_body_bytes: the largest allowed body could never pass"
        path = ("limits", "max_body_bytes_in_flight")
        yield source.problem(path, message, fix=f"at least {config.limits.max_body_bytes}", code="contradiction")
    cooling = config.cooling
    if cooling.max_time < cooling.time:
        message = f"{cooling.max_time / 1000:g}s is below cooling.time, which is {cooling.time / 1000:g}s"
        yield source.problem(("cooling", "max_time"), message, fix="at least as long as cooling.time", code="contradiction")


def is_address(text: str) -> bool:
    """Whether the text is an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _collisions(config: RouterConfig, source: Source) -> Iterator[Problem]:
    # The addresses are not compared: 0.0.0.0 takes the port on every other address too.
    ports: dict[Path, int] = {
        ("listener", "port"): config.listener.port,
        ("envoy", "admin_port"): config.envoy.admin_port,
        ("admin", "port"): config.admin.port,
    }
    seen: dict[int, Path] = {}
    for path, port in ports.items():
        if port in seen:
            # One of the two may be a default: the other is where the file can be changed.
            here, there = (path, seen[port]) if source.find(path) is not None else (seen[port], path)
            yield source.problem(
                here, f"port {port} is also that of {dotted(there)}", fix="choose another port", code="port_taken"
            )
        seen[port] = path
