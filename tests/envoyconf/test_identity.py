"""Who calls, proved by the real Envoy: tokens of an issuer, certificates of a mesh; and nobody's word for it."""

from __future__ import annotations

import contextlib
import json
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from router_extproc.config.schema import RouterConfig
from router_extproc.envoyconf import credential_files
from router_extproc.envoyconf.identity import read_token_keys
from router_extproc.errors import StartError
from tests.envoyconf.mesh import Mesh, any_server
from tests.envoyconf.providers import Providers
from tests.envoyconf.running import Envoy, free_port
from tests.envoyconf.samples import configuration, registry_of
from tests.envoyconf.tickets import TicketWorker, ticket
from tests.envoyconf.tokens import AUDIENCE, ISSUER, Issuer, payload, unsigned_token

CHAT = "/v1/chat/completions"
PEER = "spiffe://mesh.example/ns/search/sa/api"


def with_auth(auth: dict[str, Any], providers: Providers | None = None, listener: dict[str, Any] | None = None) -> RouterConfig:
    url = providers.url("a") if providers is not None else "http://127.0.0.1:9/v1"
    sections = {
        "listener": {"port": free_port()} | (listener or {}),
        "envoy": {"admin_port": free_port()},
        "providers": {"a": {"base_url": url}},
        "models": {"model-a": {"deployments": [{"provider": "a", "name": "a"}]}},
        "auth": auth,
    }
    return configuration(sections, base={})


def by_token(**keys: Any) -> dict[str, Any]:
    return {"mode": "jwt", "jwt": {"issuer": ISSUER, "audiences": [AUDIENCE], **keys}}


@contextlib.contextmanager
def running(config: RouterConfig) -> Iterator[tuple[Envoy, TicketWorker]]:
    """Envoy and a worker that remembers what it was told."""
    with tempfile.TemporaryDirectory() as folder:
        envoy = Envoy(Path(folder), config, registry_of(config))
        worker = TicketWorker(envoy.folders.sockets / "worker-0.sock")
        try:
            envoy.start()
            envoy.until(lambda: envoy.stats("cluster.extproc.membership_healthy").popitem()[1] == 1)
            yield envoy, worker
        finally:
            envoy.stop()
            worker.stop()


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.mark.parametrize("content", [None, "no JSON", "[]", '{"keys": 1}'])
def test_a_file_without_keys_is_refused_at_the_start(tmp_path: Path, content: str | None) -> None:
    """The error names the key of router.yaml and the file."""
    file = tmp_path / "keys.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(StartError, match=rf"auth\.jwt\.jwks_file: {file}"):
        read_token_keys(with_auth(by_token(jwks_file=str(file))))


def test_what_proofs_are_held_against_is_watched(tmp_path: Path) -> None:
    """A new set of keys, or of authorities, takes effect without a restart."""
    keys, authorities = str(tmp_path / "keys.json"), str(tmp_path / "ca.pem")
    assert credential_files(with_auth(by_token(jwks_file=keys))) == (Path(keys),)
    mesh = {"certificate_authority": authorities, "identities": {PEER: "acme"}}
    assert Path(authorities) in credential_files(with_auth({"mode": "mesh", "mesh": mesh}))


@pytest.mark.end_to_end
class TestTokens:
    @pytest.fixture
    def asked(self, by_file: tuple[Envoy, TicketWorker], providers: Providers) -> tuple[Envoy, TicketWorker]:
        providers.reset()
        by_file[1].seen.clear()
        return by_file

    @pytest.mark.parametrize(
        ("header", "scheme"), [("authorization", "Bearer "), ("authorization", "bearer "), ("api-key", ""), ("x-api-key", "")]
    )
    def test_a_valid_token_is_shown_to_the_worker(
        self, asked: tuple[Envoy, TicketWorker], providers: Providers, issuer: Issuer, header: str, scheme: str
    ) -> None:
        """Its payload reaches the worker, wherever an SDK writes it; the provider sees neither it nor the payload."""
        envoy, worker = asked
        token = issuer.token(org={"id": "acme"}, name="Zoë")
        answer = httpx.post(envoy.url + CHAT, json={}, headers={header: scheme + token} | ticket("a"), trust_env=False)
        assert answer.status_code == 200
        claims = payload(worker.seen[0]["x-router-jwt"])
        assert (claims["sub"], claims["org"], claims["name"]) == ("ann", {"id": "acme"}, "Zoë")
        (at_provider,) = providers.asked
        assert "x-router-jwt" not in at_provider.headers
        assert token not in json.dumps(at_provider.headers)
        logged = json.dumps(envoy.lines(answer.headers["x-router-decision"]))
        assert token not in logged + envoy.log()

    @pytest.mark.parametrize(
        "claims",
        [
            {"exp": int(time.time()) - 3_600},
            {"nbf": int(time.time()) + 3_600},
            {"aud": "another"},
            {"iss": "https://another.example"},
        ],
    )
    def test_a_token_that_does_not_hold_is_refused(
        self, asked: tuple[Envoy, TicketWorker], providers: Providers, issuer: Issuer, claims: dict[str, Any]
    ) -> None:
        """Expired, not yet valid, for somebody else, from somebody else: 401, and neither worker nor provider is asked."""
        self.refused(asked, providers, {"authorization": f"Bearer {issuer.token(**claims)}"})

    def test_a_forged_token_is_refused(self, asked: tuple[Envoy, TicketWorker], providers: Providers, issuer: Issuer) -> None:
        """Signed by another key, changed after signing, not signed at all, no token but a key."""
        head, _, signature = issuer.token().split(".")
        _, other, _ = issuer.token(sub="root").split(".")
        forged = [Issuer().token(), f"{head}.{other}.{signature}", unsigned_token(sub="root"), "sk-router-x.y"]
        for token in forged:
            self.refused(asked, providers, {"authorization": f"Bearer {token}"})

    def test_one_good_token_does_not_hide_a_bad_one(
        self, asked: tuple[Envoy, TicketWorker], providers: Providers, issuer: Issuer
    ) -> None:
        """Whoever shows two must be able to prove both."""
        good, bad = issuer.token(), Issuer().token(sub="root")
        self.refused(asked, providers, {"authorization": f"Bearer {good}", "api-key": bad})
        self.refused(asked, providers, {"authorization": f"Bearer {bad}", "api-key": good})

    @pytest.mark.parametrize("path", [CHAT, "/v1/models", "/v1/files?key=x"])
    def test_without_a_token_nobody_comes_in(self, asked: tuple[Envoy, TicketWorker], providers: Providers, path: str) -> None:
        """Every path of the API asks for one; a payload that a client wrote itself is no proof."""
        self.refused(asked, providers, {}, path)
        self.refused(asked, providers, {"x-router-jwt": "eyJzdWIiOiJyb290In0"}, path)

    def test_what_a_client_claims_is_replaced(self, asked: tuple[Envoy, TicketWorker], issuer: Issuer) -> None:
        """Beside a valid token, too, only Envoy says what stands in it."""
        envoy, worker = asked
        forged = {"x-router-jwt": "eyJzdWIiOiJyb290In0", "x-router-peer": PEER, "authorization": f"Bearer {issuer.token()}"}
        assert httpx.post(envoy.url + CHAT, json={}, headers=forged | ticket("a"), trust_env=False).status_code == 200
        assert payload(worker.seen[0]["x-router-jwt"])["sub"] == "ann"
        assert "x-router-peer" not in worker.seen[0]

    def test_new_keys_take_effect(self, issuer: Issuer, providers: Providers, tmp_path: Path) -> None:
        """Rendered again after the file changed, only tokens of the new key hold."""
        file, later = tmp_path / "keys.json", Issuer("second")
        file.write_text(issuer.keys)
        with running(with_auth(by_token(jwks_file=str(file)), providers)) as (envoy, _):

            def status(token: str) -> int:
                headers = {"authorization": f"Bearer {token}"} | ticket("a")
                return httpx.post(envoy.url + CHAT, json={}, headers=headers, trust_env=False).status_code

            assert (status(issuer.token()), status(later.token())) == (200, 401)
            file.write_text(later.keys)
            envoy.render()
            envoy.until(lambda: status(later.token()) == 200)
            assert status(issuer.token()) == 401

    def refused(
        self, asked: tuple[Envoy, TicketWorker], providers: Providers, headers: dict[str, str], path: str = CHAT
    ) -> None:
        envoy, worker = asked
        answer = httpx.post(envoy.url + path, json={}, headers=headers | ticket("a"), trust_env=False)
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/json"
        error = answer.json()["error"]
        assert (error["code"], error["type"]) == ("invalid_api_key", "authentication_error")
        assert answer.headers["x-router-reason"] == "invalid_api_key"
        assert "key=x" not in str(answer.headers) + answer.text
        assert not worker.seen
        assert not providers.asked
        assert envoy.access_log(answer.headers["x-router-decision"])["status"] == 401


@pytest.fixture(scope="module")
def by_file(
    issuer: Issuer, providers: Providers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Envoy, TicketWorker]]:
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    file.write_text(issuer.keys)
    with running(with_auth(by_token(jwks_file=str(file)), providers)) as started:
        yield started


class KeyServer(HTTPServer):
    """Tells an issuer's keys over HTTP, or fails."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.content: str | None = None
        self.asked = 0
        self.url = f"http://127.0.0.1:{self.server_port}/.well-known/jwks.json"


class _Answer(BaseHTTPRequestHandler):
    server: KeyServer

    def do_GET(self) -> None:
        self.server.asked += 1
        body = (self.server.content or "").encode()
        self.send_response(200 if body and self.path == "/.well-known/jwks.json" else 500)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's own name
        """Nothing is printed."""


@pytest.fixture
def key_server() -> Iterator[KeyServer]:
    server = KeyServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.end_to_end
class TestKeysOverHttp:
    def test_keys_are_fetched_before_the_first_request(
        self, issuer: Issuer, providers: Providers, key_server: KeyServer
    ) -> None:
        """No request waits for the issuer, which is asked once for many."""
        key_server.content = issuer.keys
        with running(with_auth(by_token(jwks_uri=key_server.url), providers)) as (envoy, _):
            headers = {"authorization": f"Bearer {issuer.token()}"} | ticket("a")
            answers = [httpx.post(envoy.url + CHAT, json={}, headers=headers, trust_env=False) for _ in range(5)]
            assert {answer.status_code for answer in answers} == {200}
        assert key_server.asked == 1

    def test_an_issuer_that_does_not_answer(self, issuer: Issuer, providers: Providers, key_server: KeyServer) -> None:
        """Nobody comes in, which is not the token's fault: 503 until the issuer is back, and then it is as ever."""
        with running(with_auth(by_token(jwks_uri=key_server.url), providers)) as (envoy, _):
            headers = {"authorization": f"Bearer {issuer.token()}"} | ticket("a")
            answer = httpx.post(envoy.url + CHAT, json={}, headers=headers, trust_env=False)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "keys_unavailable")
            assert answer.headers["retry-after"] == "1"
            key_server.content = issuer.keys
            envoy.until(lambda: httpx.post(envoy.url + CHAT, json={}, headers=headers, trust_env=False).status_code == 200)


@pytest.mark.end_to_end
class TestMesh:
    @pytest.fixture
    def mesh(self, tmp_path: Path) -> Mesh:
        return Mesh(tmp_path)

    @pytest.fixture
    def meshed(self, mesh: Mesh, providers: Providers, tmp_path: Path) -> Iterator[tuple[Envoy, TicketWorker]]:
        providers.reset()
        server = trustme.CA().issue_cert("localhost")
        server.private_key_pem.write_to_path(str(tmp_path / "tls.key"))
        server.cert_chain_pems[0].write_to_path(str(tmp_path / "tls.crt"))
        auth = {"mode": "mesh", "mesh": {"certificate_authority": str(mesh.file), "identities": {PEER: "acme"}}}
        tls = {"tls": {"certificate": str(tmp_path / "tls.crt"), "key": str(tmp_path / "tls.key")}}
        with running(with_auth(auth, providers, tls)) as started:
            yield started

    def ask(self, envoy: Envoy, context: ssl.SSLContext, **headers: str) -> httpx.Response:
        with httpx.Client(verify=context, trust_env=False, timeout=10) as client:
            return client.post(envoy.url + CHAT, json={}, headers=headers | ticket("a"))

    def test_the_certificates_name_is_shown_to_the_worker(
        self, meshed: tuple[Envoy, TicketWorker], mesh: Mesh, providers: Providers
    ) -> None:
        """The worker learns the SPIFFE id, whatever the client claims; the provider learns nothing."""
        envoy, worker = meshed
        claimed = {"x-router-peer": "spiffe://mesh.example/root", "x-router-jwt": "forged"}
        assert self.ask(envoy, mesh.client(PEER)).status_code == 200
        assert self.ask(envoy, mesh.client(PEER), **claimed).status_code == 200
        assert [(seen.get("x-router-peer"), seen.get("x-router-jwt")) for seen in worker.seen] == [(PEER, None)] * 2
        assert not [name for asked in providers.asked for name in asked.headers if name.startswith("x-router")]

    def test_several_names_are_all_told(self, meshed: tuple[Envoy, TicketWorker], mesh: Mesh) -> None:
        """Which of them counts is not Envoy's to choose."""
        envoy, worker = meshed
        self.ask(envoy, mesh.client(PEER, "spiffe://mesh.example/other"))
        assert worker.seen[0]["x-router-peer"] == f"{PEER},spiffe://mesh.example/other"

    def test_without_a_name_there_is_no_claim(self, meshed: tuple[Envoy, TicketWorker], mesh: Mesh) -> None:
        """A certificate of the mesh that names nobody proves nothing, and what the client says instead does not count."""
        envoy, worker = meshed
        self.ask(envoy, mesh.client(), **{"x-router-peer": PEER})
        assert "x-router-peer" not in worker.seen[0]

    def test_others_do_not_come_in(self, meshed: tuple[Envoy, TicketWorker], providers: Providers, tmp_path: Path) -> None:
        """Without a certificate, or with one of another authority, there is no connection."""
        envoy, worker = meshed
        for context in (any_server(), Mesh(tmp_path, "other").client(PEER)):
            with pytest.raises(httpx.TransportError):
                self.ask(envoy, context)
        assert not worker.seen
        assert not providers.asked

    def test_new_authorities_take_effect(self, meshed: tuple[Envoy, TicketWorker], mesh: Mesh, tmp_path: Path) -> None:
        """A renewed bundle is used from the next connection on, without a restart."""
        envoy, _ = meshed
        later = Mesh(tmp_path, "later")
        context = later.client(PEER)
        with pytest.raises(httpx.TransportError):
            self.ask(envoy, context)
        mesh.file.write_bytes(later.file.read_bytes())
        envoy.render()

        def is_let_in() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return self.ask(envoy, context).status_code == 200
            return False

        envoy.until(is_let_in)
