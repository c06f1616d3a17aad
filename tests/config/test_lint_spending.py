"""What a file says about tenants, keys, budgets and stores that is only unwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from router_extproc.config.lint import lint
from router_extproc.config.load import parse_document

PROVIDERS = """\
providers:
  local: {base_url: "http://127.0.0.1:8000/v1", models: [small, large]}
"""
DIGEST = "sha256:0011223344556677:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
OTHER_DIGEST = "sha256:0011223344556677:60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752"
# The middle of 2030.
NOW = 1_909_000_000.0


def warnings(text: str, environ: dict[str, str] | None = None) -> list[str]:
    """Key, code and message of each warning in the middle of 2030."""
    found = lint(parse_document(PROVIDERS + text), environ or {}, NOW)
    assert all(problem.severity == "warning" for problem in found)
    return [f"{problem.key}: {problem.code}: {problem.message}" for problem in found]


def test_a_good_file_has_no_warning() -> None:
    """Nothing is said about a file about which there is nothing to say."""
    text = (
        "auth: keys\ntenants: {a: {tags: {project: apollo}}}\n"
        f"keys: {{k: {{tenant: a, digest: '{DIGEST}', expires: 2031-01-01}}}}\n"
        "budgets:\n"
        "  b: {usd: 1, window: day, per: ['tag:project'], on_store_failure: local_share, local_share: 0.2,"
        " assume_max_output_tokens: 100, downgrade_at: 0.8, raises: [{usd: 1, until: 2031-01-01}]}\n"
        "  c: {iterations: 10, per: session}\n"
    )
    assert warnings(text) == []


def test_users_that_are_kept_for_ever() -> None:
    """A user's amount for life is said to be kept for ever, because applications choose the names; other windows are not."""
    life = "budgets:\n  life: {usd: 1, window: forever, per: user}\n"
    text = f"{life}  month: {{usd: 1, per: user}}\n  all: {{usd: 9, window: forever}}\n"
    assert warnings(text) == [
        "budgets.life.window: kept_forever: kept for ever, for each name: an application may send any as its user"
    ]


def test_keys_that_are_over() -> None:
    """An expired key, and an expired digest of a key that has another, are told by the day of today."""
    text = (
        "auth: keys\ntenants: {a: {}}\nkeys:\n"
        f"  k: {{tenant: a, expires: 2030-01-01, digest: '{DIGEST}'}}\n"
        f"  two: {{tenant: a, digests: [{{digest: '{OTHER_DIGEST}', until: 2030-01-01}}]}}\n"
    )
    assert warnings(text) == [
        "keys.k.expires: expired_key: the key has expired",
        "keys.two.digests[0].until: expired_key: this digest has expired",
    ]


@pytest.mark.parametrize(
    "mode", ["{mode: none, trusted: true}", "{mode: jwt, jwt: {issuer: me, audiences: [a], jwks_uri: 'https://me/jwks'}}"]
)
def test_keys_that_nobody_is_asked_for(mode: str) -> None:
    """A declared key changes nothing where callers prove themselves otherwise, or not at all."""
    text = f"auth: {mode}\ntenants: {{a: {{}}}}\nkeys: {{k: {{tenant: a, digest: '{DIGEST}'}}}}\n"
    name = "none" if "none" in mode else "jwt"
    assert warnings(text) == [f"keys: keys_without_effect: never asked for: auth.mode is {name}"]


@pytest.mark.parametrize(
    ("budget", "warning"),
    [
        (
            "{iterations: 5, per: tenant}",
            "iterations: iterations_without_session: counts the requests of all sessions together",
        ),
        ("{usd: 5, local_share: 0.5}", "local_share: share_without_effect: has no effect: on_store_failure is fail_closed"),
        (
            "{requests: 5, assume_max_output_tokens: 5}",
            "assume_max_output_tokens: estimate_without_effect: has no effect: requests do not depend on how long an answer is",
        ),
        (
            "{usd: 5, match: {model: small}, downgrade_at: 0.5}",
            "downgrade_at: downgrade_without_effect: has no effect:"  # noqa: ISC004 - one text
            " a budget on providers, models or deployments closes these, and requests go elsewhere",
        ),
        (
            "{requests: 5, downgrade_at: 0.5}",
            "downgrade_at: downgrade_without_effect: has no effect: requests are as many, whichever tier answers",
        ),
        ("{usd: 5, raises: [{usd: 1, until: 2030-01-01}]}", "raises[0].until: expired_raise: this raise is over"),
        (
            "{usd: 5, match: {'tag:project': apollo}}",
            "match: unknown_tag: no tenant and no key of this file has the tag `project`",
        ),
        ("{usd: 5, per: ['tag:project']}", "per: unknown_tag: no tenant and no key of this file has the tag `project`"),
    ],
)
def test_settings_of_a_budget_that_change_nothing(budget: str, warning: str) -> None:
    """Each is told at its own key, for budgets of all and of one key alike."""
    assert warnings(f"budgets: {{b: {budget}}}\n") == [f"budgets.b.{warning}"]
    own = f"auth: keys\ntenants: {{a: {{}}}}\nkeys: {{k: {{tenant: a, digest: '{DIGEST}', budgets: {{b: {budget}}}}}}}\n"
    assert warnings(own) == [f"keys.k.budgets.b.{warning}"]


def test_tenants_that_nobody_or_everybody_can_be() -> None:
    """Where nobody proves anything, tenants change nothing; where strangers are believed, everybody is whom they like."""
    exposed = "listener: {address: 0.0.0.0, plain: true}\n"
    tenants = "tenants: {a: {}}\n"
    nobody = ["tenants: tenants_without_effect: nobody is of any tenant: auth.mode is none"]
    everybody = ["auth.trusted: trusted_strangers: whoever can connect may claim to be of any tenant"]
    assert warnings("auth: none\n" + tenants) == nobody
    assert warnings("auth: {mode: none, trusted: true}\n" + tenants) == []
    assert warnings("auth: {mode: none, trusted: true}\n" + tenants + exposed) == everybody
    assert warnings("auth: {mode: keys, trusted: true}\n" + tenants + exposed) == []


def test_a_budget_for_a_tenant_that_nobody_wrote() -> None:
    """Where the file knows tenants, another one is perhaps misspelt; where it knows none, all are made at run time."""
    budgets = "budgets: {b: {usd: 1, match: {tenant: serch}}, c: {usd: 1, match: {tenant: 's*'}}}\n"
    message = "no tenant of this file is named `serch`: only keys made for it at run time count here"
    assert warnings(budgets) == []
    assert warnings("tenants: {search: {}}\n" + budgets) == [f"budgets.b.match.tenant: unknown_tenant: {message}"]


def test_a_budget_for_a_key_that_nobody_wrote() -> None:
    """Where the file declares keys, another one is perhaps misspelt; where it declares none, all are made at run time."""
    budgets = "budgets: {b: {usd: 1, match: {key: shopapp}}, c: {usd: 1, match: {key: 's*'}}}\n"
    message = "no key of this file is called `shopapp`: only one made at run time counts here"
    assert warnings(budgets) == []
    declared = f"auth: keys\ntenants: {{a: {{}}}}\nkeys: {{shop-app: {{tenant: a, digest: '{DIGEST}'}}}}\n"
    assert warnings(declared + budgets) == [f"budgets.b.match.key: unknown_key_id: {message}"]


def test_a_door_that_stands_open() -> None:
    """Where somebody must prove something, or a budget is enforced, letting undecided requests pass is told."""
    message = "without a worker everybody is served, whatever auth and budgets say"
    expected = [f"defaults.on_router_failure: open_door: {message}"]
    opened = "defaults: {on_router_failure: allow}\n"
    assert warnings(opened) == []
    assert warnings(opened + "budgets: {b: {usd: 5, mode: observe}}\n") == []
    assert warnings(opened + "auth: keys\n") == expected
    assert warnings(opened + "budgets: {b: {usd: 5}}\n") == expected


def test_tokens_for_somebody_else() -> None:
    """An issuer makes tokens for many services: only those for this one should open it."""
    message = "without `audiences` the tokens that the issuer made for other services are accepted too"
    assert warnings("auth: {mode: jwt, jwt: {issuer: me, jwks_uri: 'https://me/jwks'}}\n") == [
        f"auth.jwt: any_audience: {message}"
    ]


def test_what_travels_unencrypted() -> None:
    """Public keys and passwords beyond this machine; within it there is nobody to listen."""
    jwt = "auth: {{mode: jwt, jwt: {{issuer: me, audiences: [a], jwks_uri: 'http://{}/jwks'}}}}\n"
    assert warnings(jwt.format("127.0.0.1:80")) == []
    assert warnings(jwt.format("issuer.example")) == [
        "auth.jwt.jwks_uri: plain_key: who can change what travels there can sign tokens"
    ]
    redis = "store: {{redis: {{url: '{}', password: {{env: P}}}}}}\n"
    environ = {"P": "x"}
    assert warnings(redis.format("redis://localhost:6379"), environ) == []
    assert warnings(redis.format("rediss://redis.example:6379"), environ) == []
    assert warnings(redis.format("redis://redis.example:6379"), environ) == [
        "store.redis.url: plain_key: the password travels unencrypted"
    ]
    sentinel = "store: {{redis: {{sentinel: {{service: s, urls: ['{}://s.example:26379'], password: {{env: P}}}}}}}}\n"
    assert warnings(sentinel.format("rediss"), environ) == []
    assert warnings(sentinel.format("redis"), environ) == ["store.redis.sentinel: plain_key: the password travels unencrypted"]


def test_a_certificate_authority_that_nobody_asks(tmp_path: Path) -> None:
    """Without TLS there is no certificate to hold against it."""
    authority = tmp_path / "ca.pem"
    authority.write_text("-----BEGIN CERTIFICATE-----\n")
    text = f"store: {{redis: {{cluster: ['redis://127.0.0.1:6379'], certificate_authority: {authority}}}}}\n"
    assert warnings(text) == [
        "store.redis.certificate_authority: certificate_without_effect: has no effect: Redis is spoken to without TLS"
    ]


def test_files_and_variables_that_are_not_there(tmp_path: Path) -> None:
    """Everything that is read from elsewhere is looked for; what is there is not mentioned, and never repeated."""
    text = (
        "admin: {token: {env: TOKEN}}\nalerts: {webhook: {env: HOOK}}\n"
        f"store: {{redis: {{url: 'rediss://r:1', password: {{file: {tmp_path}/password}}}}}}\n"
        f"auth: {{mode: jwt, jwt: {{issuer: me, audiences: [a], jwks_file: {tmp_path}/keys.json}}}}\n"
    )
    assert warnings(text, {"HOOK": " "}) == [
        "admin.token.env: missing_secret: the environment variable TOKEN is not set",
        "alerts.webhook.env: missing_secret: the environment variable HOOK is empty",
        f"store.redis.password.file: missing_secret: {tmp_path}/password does not exist",
        f"auth.jwt.jwks_file: missing_file: {tmp_path}/keys.json does not exist",
    ]
    sentinel = f"{{service: s, urls: ['rediss://r:1'], password: {{file: {tmp_path}/password}}}}"
    assert warnings(f"store: {{redis: {{sentinel: {sentinel}, password: {{env: P}}}}}}\n") == [
        f"store.redis.sentinel.password.file: missing_secret: {tmp_path}/password does not exist",
        "store.redis.password.env: missing_secret: the environment variable P is not set",
    ]
    (tmp_path / "password").write_text("hunter2")
    (tmp_path / "keys.json").write_text("{}")
    assert warnings(text, {"HOOK": "https://hooks.example/x", "TOKEN": "t"}) == []
