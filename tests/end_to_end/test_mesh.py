"""Callers of a mesh: known by the SPIFFE id of their certificate, and by nothing that they say themselves."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.end_to_end.certificates import Authority
from tests.end_to_end.running import CHAT, HELLO, Instance, Simulators, running
from tests.envoyconf.mesh import Mesh, any_server

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("healed")]

SEARCH, SHOP = "spiffe://mesh.example/ns/search/sa/api", "spiffe://mesh.example/ns/shop/sa/cart"
SIMULATED = {"one": {"models": ["small"]}}
CONFIGURATION = f"""
listener: {{port: LISTENER, tls: {{certificate: authority-localhost.pem, key: authority-localhost.key}}}}
admin: {{port: ADMIN}}
envoy: {{admin_port: ENVOY, concurrency: 2}}
providers: {{one: {{base_url: "$one/v1"}}}}
models: {{small: {{deployments: [{{provider: one}}]}}}}
auth:
  mode: mesh
  mesh:
    certificate_authority: mesh.pem
    identities: {{"{SEARCH}": search, "spiffe://mesh.example/ns/shop/*": shop}}
tenants: {{search: {{features: [beta]}}, shop: {{}}}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("instance")


@pytest.fixture(scope="module")
def mesh(folder: Path) -> Mesh:
    return Mesh(folder)


@pytest.fixture(scope="module")
def instance(simulators: Simulators, folder: Path, mesh: Mesh) -> Iterator[Instance]:
    Authority(folder).issue("localhost")
    assert mesh.file == folder / "mesh.pem"
    with running(Instance(folder, simulators.fill(CONFIGURATION), scheme="https")) as started:
        yield started


def ask(instance: Instance, context: ssl.SSLContext, **headers: str) -> httpx.Response:
    with httpx.Client(base_url=instance.url, verify=context, trust_env=False, timeout=30) as client:
        return client.post(CHAT, json={"model": "small", "messages": HELLO}, headers=headers)


def caller_of(instance: Instance, answer: httpx.Response) -> dict[str, object]:
    """Who asked, as Envoy's access log has it."""
    caller: dict[str, object] = instance.access_line(answer.headers["x-router-decision"])["caller"]
    return caller


@pytest.mark.parametrize(("name", "tenant"), [(SEARCH, "search"), (SHOP, "shop")])
def test_a_certificate_names_the_tenant(instance: Instance, mesh: Mesh, name: str, tenant: str) -> None:
    """The whole name, or a pattern, leads to the tenant, whatever the client's headers claim."""
    for headers in ({}, {"x-router-peer": SEARCH, "x-router-tenant": "search", "authorization": "Bearer sk-any"}):
        answer = ask(instance, mesh.client(name), **headers)
        assert answer.status_code == 200
        assert caller_of(instance, answer)["tenant"] == tenant


def test_a_name_that_nobody_knows_is_refused(instance: Instance, mesh: Mesh, simulators: Simulators) -> None:
    """A certificate of the mesh without a tenant, or without a name: 401, though the client claims one."""
    for names in (["spiffe://mesh.example/ns/other"], ["spiffe://mesh.example/ns/shopping"], []):
        answer = ask(instance, mesh.client(*names), **{"x-router-peer": SEARCH})
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert simulators.stats("one")["requests"] == 0


def test_who_is_not_of_the_mesh_does_not_come_in(instance: Instance, simulators: Simulators, tmp_path: Path) -> None:
    """No certificate, or one of another authority with the right name: there is no connection."""
    for context in (any_server(), Mesh(tmp_path, "other").client(SEARCH)):
        with pytest.raises(httpx.TransportError):
            ask(instance, context, **{"x-router-peer": SEARCH})
    assert simulators.stats("one")["requests"] == 0


def test_no_provider_learns_who_asked(instance: Instance, mesh: Mesh, simulators: Simulators) -> None:
    """The name stays here."""
    ask(instance, mesh.client(SEARCH)).raise_for_status()
    assert "spiffe" not in json.dumps(simulators.requests("one"))
