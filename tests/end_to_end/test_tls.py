"""TLS towards providers: the certificate must be of a trusted authority and carry the name that was asked for."""

from __future__ import annotations

import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.certificates import Authority
from tests.end_to_end.running import Instance, Simulators, running

pytestmark = pytest.mark.end_to_end

CONFIGURATION = """
providers:
  by-name: {base_url: "https://localhost:$BY_NAME/v1", models: [m], certificate_authority: $CA}
  by-address: {base_url: "https://127.0.0.1:$BY_ADDRESS/v1", models: [m], certificate_authority: $CA}
  wrong-name: {base_url: "https://localhost:$WRONG_NAME/v1", models: [m], certificate_authority: $CA}
  wrong-address: {base_url: "https://127.0.0.1:$BY_NAME/v1", models: [m], certificate_authority: $CA}
  other-authority: {base_url: "https://localhost:$STRANGER/v1", models: [m], certificate_authority: $CA}
  system-roots: {base_url: "https://localhost:$BY_NAME/v1", models: [m]}
  without-tls: {base_url: "https://localhost:$BACKUP/v1", models: [m], certificate_authority: $CA}
  backup: {base_url: "http://127.0.0.1:$BACKUP/v1", models: [m]}
routes:
  by-name: {targets: [{deployment: by-name/m}]}
  by-address: {targets: [{deployment: by-address/m}]}
"""
# Each of them must be refused before it sees anything of the request.
REFUSED = ("wrong-name", "wrong-address", "other-authority", "system-roots", "without-tls")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder)


@pytest.fixture(scope="module")
def simulators(folder: Path, authority: Authority) -> Iterator[Simulators]:
    certificates = {
        "by_name": authority.issue("localhost"),
        "by_address": authority.issue("127.0.0.1"),
        "wrong_name": authority.issue("another.example"),
        "stranger": Authority(folder, "stranger").issue("localhost"),
    }
    played = {name: {"tls_certificate": str(file), "tls_key": str(key)} for name, (file, key) in certificates.items()}
    simulated = Simulators(folder, {**played, "backup": {}})
    yield simulated
    simulated.stop()


@pytest.fixture(scope="module")
def instance(folder: Path, authority: Authority, simulators: Simulators) -> Iterator[Instance]:
    values = {name.upper(): port for name, port in simulators.ports.items()} | {"CA": authority.file}
    routes = [
        f"  {name}: {{targets: [{{deployment: {name}/m}}, {{deployment: backup/m}}]}}\n"
        f"  only-{name}: {{targets: [{{deployment: {name}/m}}], same_tier: false}}\n"
        for name in REFUSED
    ]
    configuration = string.Template(CONFIGURATION).substitute(values) + "".join(routes)
    configuration += "cooling: {failures: 1000, failure_ratio: 1.0}\n"
    with running(Instance(folder / "instance", configuration)) as instance:
        yield instance


@pytest.fixture(autouse=True)
def healed(simulators: Simulators) -> None:
    simulators.heal()


@pytest.mark.parametrize("name", ["by-name", "by-address"])
def test_a_certificate_with_the_right_name_is_served(instance: Instance, simulators: Simulators, name: str) -> None:
    """A provider whose certificate carries the host of its base URL, be it a name or an address, answers."""
    answer = instance.ask(name)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-router-deployment"] == f"{name}/m"
    (request,) = simulators.requests(name.replace("-", "_"))
    host = "localhost" if name == "by-name" else "127.0.0.1"
    assert dict(request["headers"])["host"] == f"{host}:{simulators.ports[name.replace('-', '_')]}"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", REFUSED)
def test_any_other_certificate_is_not_spoken_to(instance: Instance, simulators: Simulators, name: str, *, stream: bool) -> None:
    """A wrong name, an unknown authority or no TLS at all is a failed attempt: the next deployment answers."""
    answer = instance.ask(name, stream=stream)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-router-deployment"] == "backup/m"
    assert answer.headers["x-router-fallback-from"] == f"{name}/m"
    assert answer.headers["x-router-attempts"] == "2"
    assert simulators.asked() == {"backup": 1}, "the refused provider must not see the request"
    record = instance.decision(answer.headers["x-router-decision"])
    assert [attempt["cause"] for attempt in record["attempts"]] == ["connect_failure", "none"]


@pytest.mark.parametrize("name", REFUSED)
def test_without_another_deployment_the_client_is_told(instance: Instance, simulators: Simulators, name: str) -> None:
    """Where nobody else serves the request it fails with 503, and not a byte of it went out."""
    answer = instance.ask(f"only-{name}")
    assert answer.status_code == 503
    error = answer.json()["error"]
    assert error["code"] == "upstream_unavailable"
    assert not any(part in error["message"] for part in ("127.0.0.1", "localhost", "/v1")), (
        "where providers are is nobody's business"
    )
    assert simulators.asked() == {}
