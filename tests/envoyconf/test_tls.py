"""TLS on both sides of the real Envoy, with certificates made for the test."""

from __future__ import annotations

import socket
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme

from router_extproc.envoyconf import credential_files, render_secrets
from tests.envoyconf.providers import Providers
from tests.envoyconf.running import Envoy, free_port, write
from tests.envoyconf.samples import configuration, registry_of
from tests.envoyconf.tickets import TicketWorker, ticket

CHAT = "/v1/chat/completions"

pytestmark = pytest.mark.end_to_end


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def secure_provider(authority: trustme.CA) -> Iterator[Providers]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    running = Providers(tls=context, address="0.0.0.0")
    yield running
    running.stop()


def write_certificate(folder: Path, authority: trustme.CA, name: str) -> None:
    certificate = authority.issue_cert(name)
    certificate.private_key_pem.write_to_path(folder / "tls.key")
    (folder / "tls.crt").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))


@pytest.fixture(scope="module")
def secure(authority: trustme.CA, secure_provider: Providers) -> Iterator[Envoy]:
    """Envoy with a TLS listener and providers that speak TLS: one trusted, one by another authority, one by another name."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        authority.cert_pem.write_to_path(folder / "ca.pem")
        trustme.CA().cert_pem.write_to_path(folder / "other-ca.pem")
        write_certificate(folder, authority, "localhost")
        port = secure_provider.port
        bases = {
            "named": (f"https://localhost:{port}/named/v1", "ca.pem"),
            "numbered": (f"https://127.0.0.1:{port}/numbered/v1", "ca.pem"),
            "untrusted": (f"https://localhost:{port}/untrusted/v1", "other-ca.pem"),
            "misnamed": (f"https://127.0.0.2:{port}/misnamed/v1", "ca.pem"),
            "system": (f"https://localhost:{port}/system/v1", None),
        }
        config = configuration(
            {
                "listener": {"port": free_port(), "tls": {"certificate": f"{folder}/tls.crt", "key": f"{folder}/tls.key"}},
                "envoy": {"admin_port": free_port()},
                "providers": {
                    name: {"base_url": url, "certificate_authority": str(folder / ca) if ca else None}
                    for name, (url, ca) in bases.items()
                },
                "models": {f"m-{name}": {"deployments": [{"provider": name, "name": name}]} for name in bases},
            }
        )
        envoy = Envoy(folder, config, registry_of(config))
        worker = TicketWorker(envoy.folders.sockets / "worker-0.sock")
        try:
            envoy.start()
            envoy.until(lambda: envoy.stats("cluster.extproc.membership_healthy").popitem()[1] == 1)
            yield envoy
        finally:
            envoy.stop()
            worker.stop()


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def handshake(envoy: Envoy, context: ssl.SSLContext, *protocols: str) -> tuple[str, str | None]:
    """The name in the certificate that clients see, and the protocol agreed on."""
    context.set_alpn_protocols(list(protocols))
    context.check_hostname = False
    with (
        socket.create_connection(("127.0.0.1", envoy.config.listener.port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        certificate = connection.getpeercert()
        assert certificate is not None
        return str(certificate["subjectAltName"][0][1]), connection.selected_alpn_protocol()  # type: ignore[index]


def ask(envoy: Envoy, authority: trustme.CA, deployment: str) -> httpx.Response:
    url = f"https://localhost:{envoy.config.listener.port}{CHAT}"
    with httpx.Client(verify=trusting(authority), trust_env=False, timeout=20) as client:
        return client.post(url, json={}, headers=ticket(deployment, max_attempts=1))


@pytest.mark.parametrize("deployment", ["named", "numbered"])
def test_trusted_provider(secure: Envoy, authority: trustme.CA, secure_provider: Providers, deployment: str) -> None:
    """A provider whose certificate is signed by its authority and names its host, or address, is used."""
    secure_provider.reset()
    assert ask(secure, authority, deployment).status_code == 200
    assert secure_provider.names() == [deployment]


@pytest.mark.parametrize(
    ("deployment", "counter"),
    [("untrusted", "ssl.fail_verify_error"), ("misnamed", "ssl.fail_verify_san"), ("system", "ssl.fail_verify_error")],
)
def test_provider_that_proves_nothing(
    secure: Envoy, authority: trustme.CA, secure_provider: Providers, deployment: str, counter: str
) -> None:
    """A certificate of another authority or for another name is refused before a request is sent."""
    secure_provider.reset()
    assert ask(secure, authority, deployment).status_code == 503
    assert not secure_provider.asked
    assert secure.stats(f"cluster.{deployment}.{counter}") == {f"cluster.{deployment}.{counter}": 1}


def test_both_versions_of_http_are_offered(secure: Envoy, authority: trustme.CA) -> None:
    """Clients choose between HTTP/2 and HTTP/1.1 in the handshake."""
    assert handshake(secure, trusting(authority), "h2", "http/1.1") == ("localhost", "h2")
    assert handshake(secure, trusting(authority), "http/1.1") == ("localhost", "http/1.1")


def test_renewed_certificate_needs_no_restart(secure: Envoy, authority: trustme.CA) -> None:
    """Once its files are replaced and rendered, new connections see the new certificate; its files are named to watch."""
    tls = secure.config.listener.tls
    assert tls is not None
    assert {str(file) for file in credential_files(secure.config)} == {tls.certificate, tls.key}
    write_certificate(Path(tls.certificate).parent, authority, "renewed.example")
    write(render_secrets(secure.config, {}), secure.folders.envoy)
    secure.until(lambda: handshake(secure, trusting(authority), "h2")[0] == "renewed.example", 5)


def test_private_key_is_not_shown(secure: Envoy) -> None:
    """Envoy's configuration dump holds the certificate and not its key."""
    dump = secure.config_dump()
    assert "PRIVATE KEY" not in dump
    assert "[redacted]" in dump
