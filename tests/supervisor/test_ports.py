"""A port that cannot be had is an error that names its key."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from router_extproc.config.load import parse_config
from router_extproc.config.schema import RouterConfig
from router_extproc.errors import StartError
from router_extproc.supervisor.ports import require_free_ports
from tests.end_to_end.running import free_ports


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def configuration(**ports: int) -> RouterConfig:
    free = dict(zip(("listener", "admin", "envoy"), free_ports(3), strict=True)) | ports
    text = f"listener: {{port: {free['listener']}}}\nadmin: {{port: {free['admin']}}}\nenvoy: {{admin_port: {free['envoy']}}}\n"
    return parse_config(text + 'providers: {one: {base_url: "http://127.0.0.1:1/v1", models: [a]}}', "router.yaml")


@pytest.mark.parametrize(
    ("section", "key", "option"),
    [
        ("listener", "listener.port", "--port"),
        ("admin", "admin.port", "--admin-port"),
        ("envoy", "envoy.admin_port", "--envoy-admin-port"),
    ],
)
def test_a_taken_port_names_its_key(taken: int, section: str, key: str, option: str) -> None:
    """The message says which key, which address, why, and both ways to another port."""
    with pytest.raises(StartError) as caught:
        require_free_ports(configuration(**{section: taken}), with_envoy=True)
    reason = f"{key}: cannot listen on 127.0.0.1:{taken}: Address already in use"
    assert str(caught.value) == f"{reason}; set {key} in router.yaml, or {option} on the command line, to a free port"


def test_free_ports_are_left_alone() -> None:
    """Nothing listens there afterwards either."""
    config = configuration()
    require_free_ports(config, with_envoy=True)
    require_free_ports(config, with_envoy=True)


@pytest.mark.parametrize("section", ["listener", "envoy"])
def test_a_foreign_envoy_has_its_ports_already(taken: int, section: str) -> None:
    """`serve` needs the observer's port only."""
    require_free_ports(configuration(**{section: taken}), with_envoy=False)
