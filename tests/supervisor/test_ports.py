"""A port that cannot be had is an error that names its key."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from router_extproc.config.load import parse_config
from router_extproc.config.schema import RouterConfig
from router_extproc.errors import StartError
from router_extproc.supervisor.ports import require_free_ports
from tests.kept_ports import KeptPort


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture
def free() -> Iterator[dict[str, int]]:
    kept = {name: KeptPort() for name in ("listener", "admin", "envoy")}
    yield {name: port.number for name, port in kept.items()}
    for port in kept.values():
        port.release()


def configuration(ports: dict[str, int]) -> RouterConfig:
    text = "listener: {{port: {listener}}}\nadmin: {{port: {admin}}}\nenvoy: {{admin_port: {envoy}}}\n".format(**ports)
    return parse_config(text + 'providers: {one: {base_url: "http://127.0.0.1:1/v1", models: [a]}}', "router.yaml")


@pytest.mark.parametrize(
    ("section", "key", "option"),
    [
        ("listener", "listener.port", "--port"),
        ("admin", "admin.port", "--admin-port"),
        ("envoy", "envoy.admin_port", "--envoy-admin-port"),
    ],
)
def test_a_taken_port_names_its_key(free: dict[str, int], taken: int, *, section: str, key: str, option: str) -> None:
    """The message says which key, which address, why, and both ways to another port."""
    with pytest.raises(StartError) as caught:
        require_free_ports(configuration(free | {section: taken}), with_envoy=True)
    reason = f"{key}: cannot listen on 127.0.0.1:{taken}: Address already in use"
    assert str(caught.value) == f"{reason}; set {key} in router.yaml, or {option} on the command line, to a free port"


def test_free_ports_are_left_alone(free: dict[str, int]) -> None:
    """Nothing listens there afterwards either."""
    config = configuration(free)
    require_free_ports(config, with_envoy=True)
    require_free_ports(config, with_envoy=True)


@pytest.mark.parametrize("section", ["listener", "envoy"])
def test_a_foreign_envoy_has_its_ports_already(free: dict[str, int], taken: int, section: str) -> None:
    """`serve` needs the observer's port only."""
    require_free_ports(configuration(free | {section: taken}), with_envoy=False)
