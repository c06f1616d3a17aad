"""What is taken for a secret in the file, and what is not."""

from __future__ import annotations

import pytest

from router_extproc.config.load import parse_config
from router_extproc.errors import ConfigurationError, Problem

PROVIDERS = """\
providers: {local: {base_url: "http://127.0.0.1:8000/v1", models: [small]}}
tenants: {acme: {}}
"""
DIGEST = "sha256:0011223344556677:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
PASTED = "4eC39HqLyjWDarjtT1zdp7dc4eC39HqLyjWDarjtT1z"
KEY = f"sk-router-ci.{PASTED}"
UUID = "123e4567-e89b-12d3-a456-426614174000"


def problems(text: str) -> tuple[Problem, ...]:
    """What is wrong."""
    try:
        parse_config(PROVIDERS + text)
    except ConfigurationError as error:
        return error.problems
    return ()


@pytest.mark.parametrize(
    "text",
    [
        f"keys: {{ci: {{tenant: acme, digest: {KEY}}}}}",
        f"keys: {{ci: {{tenant: acme, digests: [{{digest: {PASTED}}}]}}}}",
        f"keys: {{ci: {{tenant: acme, key: {KEY}}}}}",
        f"keys: {{ci: {{tenant: acme, digest: '{DIGEST}', user: {KEY}}}}}",
        f"keys: {{'{KEY}': {{tenant: acme, digest: '{DIGEST}'}}}}",
        f"admin: {{token: {PASTED}}}",
        f"admin: {{token: {{env: {PASTED}}}}}",
        f"admin: {{token: {{file: {PASTED}}}}}",
        f"store: {{redis: {{url: 'redis://:{PASTED}@host:6379'}}}}",
        f"store: {{redis: {{cluster: ['rediss://me:{PASTED}@host:6379']}}}}",
        f"store: {{redis: {{sentinel: {{service: main, urls: ['redis://{PASTED}@host:26379']}}}}}}",
        f"store: {{redis: {{url: 'redis://host', password: {PASTED}}}}}",
        f"store: {{redis: {{sentinel: {{service: main, urls: ['redis://host:26379'], password: {PASTED}}}}}}}",
        f"store: {{redis: {{sentinel: {{service: main, urls: ['redis://host:26379'], password: {{env: {PASTED}}}}}}}}}",
        f"alerts: {{webhook: 'https://hooks.slack.com/services/T0/B0/{PASTED}'}}",
        f"alerts: {{webhook: {{url: 'https://discord.com/api/webhooks/1/{PASTED}'}}}}",
        f"alerts: {{webhook: {{url: 'https://acme.webhook.office.com/webhookb2/{PASTED}'}}}}",
        f"alerts: {{webhook: {{url: 'https://me:{PASTED}@host.example/'}}}}",
    ],
)
def test_secrets_are_refused_by_name_and_not_repeated(text: str) -> None:
    """Wherever somebody may paste one: it is said that no secret belongs here, and what belongs there instead."""
    found = problems(text + "\n")
    assert "inline_credential" in {problem.code for problem in found}
    assert not any(PASTED in str(problem) for problem in found)


@pytest.mark.parametrize(
    "text",
    [
        f"keys: {{ci: {{tenant: acme, digest: '{DIGEST}', user: {UUID}, team: {UUID}, tags: {{account: {UUID}}}}}}}",
        f"keys: {{{UUID}: {{tenant: acme, digest: '{DIGEST}'}}}}",
        f"auth: {{mode: jwt, jwt: {{issuer: 'https://login.example/{UUID}/v2.0', audiences: [{UUID}], jwks_file: keys.json}}}}",
        f"admin: {{token: {{file: /run/pods/{UUID}/token}}}}",
        "store: {redis: {url: 'redis://redis-master.cache.svc.cluster.local:6379/0', password: {env: REDIS_PASSWORD}}}",
        "alerts: {webhook: {url: 'http://alerts.example/router'}}",
    ],
)
def test_what_only_looks_random_is_no_secret(text: str) -> None:
    """People, accounts and mounted files are often named by UUIDs."""
    assert problems(text + "\n") == ()
