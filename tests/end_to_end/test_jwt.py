"""Callers with tokens of an issuer: verified by Envoy, told apart by their claims, and by nothing that they say themselves."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import openai
import pytest

from tests.end_to_end.running import CHAT, HELLO, Instance, Simulators, running, until
from tests.envoyconf.tokens import AUDIENCE, ISSUER, Issuer, signed_with_the_public_key, unsigned_token

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("healed")]

SIMULATED = {"one": {"models": ["small", "large"]}}
CONFIGURATION = f"""
providers: {{one: {{base_url: "$one/v1"}}}}
models:
  small: {{tier: economy, deployments: [{{provider: one}}]}}
  large: {{tier: premium, deployments: [{{provider: one}}]}}
auth:
  mode: jwt
  jwt:
    issuer: {ISSUER}
    audiences: [{AUDIENCE}]
    jwks_file: keys.json
    claims: {{tenant: org.id, team: org.team, tags: {{app: azp}}}}
tenants:
  acme: {{tier: gold, features: [beta, fast]}}
  frugal: {{permissions: {{models: [small]}}}}
"""


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="module")
def instance(simulators: Simulators, issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    folder = tmp_path_factory.mktemp("instance")
    (folder / "keys.json").write_text(issuer.keys)
    with running(Instance(folder, simulators.fill(CONFIGURATION))) as started:
        yield started


def ask(instance: Instance, token: str, model: str = "small", **headers: str) -> openai.types.chat.ChatCompletion:
    with instance.client(api_key=token, default_headers=headers) as client:
        return client.chat.completions.create(model=model, messages=HELLO)  # type: ignore[arg-type]


def test_the_log_names_the_caller_and_no_client_can_change_it(instance: Instance, issuer: Issuer) -> None:
    """Tenant, team, user, class, features and tags come from the token and its tenant, whatever the client's headers say."""
    token = issuer.token(org={"id": "acme", "team": "search"}, azp="chat", sub="ann")
    forged = {
        "x-router-tenant": "frugal", "x-router-team": "root", "x-router-user": "root", "x-router-tags": "app=root",
        "x-router-jwt": "e30", "x-router-peer": "spiffe://root", "x-router-tier": "platinum",
    }  # fmt: skip
    for headers in ({}, forged):
        answer = instance.ask("small", headers={"authorization": f"Bearer {token}"} | headers)
        assert answer.status_code == 200
        line = instance.access_line(answer.headers["x-router-decision"])
        assert line["caller"] == {
            "tenant": "acme", "team": "search", "user": "ann", "key": "", "tier": "gold",
            "features": ["beta", "fast"], "tags": {"app": "chat"},
        }  # fmt: skip
        assert token not in json.dumps(line)


def test_a_tenant_may_do_what_it_may(instance: Instance, issuer: Issuer) -> None:
    """Permissions are those of the tenant that the token names."""
    token = issuer.token(org={"id": "frugal"})
    assert ask(instance, token).choices
    with pytest.raises(openai.PermissionDeniedError):
        ask(instance, token, "large")
    assert ask(instance, issuer.token(org={"id": "acme"}), "large").choices


def test_who_has_no_valid_token_is_told_as_openai_would(instance: Instance, issuer: Issuer, simulators: Simulators) -> None:
    """Expired, without an end, not yet begun, forged, somebody else's, none at all, or without a tenant: SDKs raise what they
    should, and nobody is called.
    """
    tenant = {"org": {"id": "acme"}}
    refused = [
        issuer.token(exp=int(time.time()) - 600, **tenant),
        issuer.token(aud="another", **tenant),
        Issuer().token(**tenant),
        "sk-router-x.y",
        issuer.token(),
        issuer.token(iss="https://another.example", **tenant),
        issuer.token(nbf=int(time.time()) + 600, **tenant),
        issuer.token(exp=None, **tenant),
        unsigned_token(**tenant),
        signed_with_the_public_key(issuer, **tenant),
        issuer.token(**tenant)[:-4] + "AAAA",
    ]
    for token in refused:
        with pytest.raises(openai.AuthenticationError) as caught:
            ask(instance, token)
        assert caught.value.code == "invalid_api_key"
        assert token not in caught.value.message
    assert simulators.stats("one")["requests"] == 0
    assert instance.ask("small").status_code == 401


def test_no_second_proof_helps(instance: Instance, issuer: Issuer, simulators: Simulators) -> None:
    """One valid token beside one that is not, in whichever header and order, is no proof."""
    good, bad = issuer.token(org={"id": "acme"}), Issuer().token(org={"id": "acme"})
    before = simulators.stats("one")["requests"]
    for pair in (
        [("authorization", f"Bearer {good}"), ("authorization", f"Bearer {bad}")],
        [("authorization", f"Bearer {bad}"), ("authorization", f"Bearer {good}")],
        [("authorization", f"Bearer {bad}"), ("x-api-key", good)],
        [("authorization", f"Bearer {good}, Bearer {bad}")],
        [("x-router-jwt", good.split(".")[1]), ("authorization", f"Bearer {bad}")],
        [("X-Router-JWT", good.split(".")[1])],
    ):
        with instance.http() as http:
            answer = http.post(CHAT, json={"model": "small", "messages": HELLO}, headers=pair)
        assert answer.status_code == 401, pair
    assert simulators.stats("one")["requests"] == before


def test_no_token_is_written_down(instance: Instance, issuer: Issuer) -> None:
    """Neither a token nor what only it contains stands in any file of the instance."""
    token = issuer.token(org={"id": "acme"}, email="canary@example.com")
    ask(instance, token)
    with pytest.raises(openai.AuthenticationError):
        ask(instance, issuer.token(org={"id": "acme"}, email="canary@example.com", aud="another"))
    head, payload, signature = token.split(".")
    last = instance.ask("small", headers={"authorization": f"Bearer {token}"}).headers["x-router-decision"]
    instance.access_line(last)
    for name, content in instance.written_files().items():
        for secret in (payload, signature, "canary@example.com"):
            assert secret.encode() not in content, name
    assert head


def test_renewed_keys_are_used(instance: Instance, issuer: Issuer) -> None:
    """The file with the issuer's keys is read again when it changes: old tokens end, new ones hold, the rest goes on."""
    later = Issuer("second")
    file = instance.folder / "keys.json"
    old, new = issuer.token(org={"id": "acme"}), later.token(org={"id": "acme"})

    def status(token: str) -> int:
        return instance.ask("small", headers={"authorization": f"Bearer {token}"}).status_code

    assert (status(old), status(new)) == (200, 401)
    try:
        file.write_text(later.keys)
        until(lambda: (status(old), status(new)) == (401, 200))
    finally:
        file.write_text(issuer.keys)
    until(lambda: (status(old), status(new)) == (200, 401))
