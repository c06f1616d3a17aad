"""What is only unwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from router_extproc.config.lint import lint
from router_extproc.config.load import parse_document

PROVIDERS = """\
providers:
  local:
    base_url: http://127.0.0.1:8000/v1
    models: [small, large]
"""
ENDS = ", which ends every attempt before"


def warnings(text: str, environ: dict[str, str] | None = None) -> list[str]:
    """Line, key, code and message of each warning."""
    found = lint(parse_document(text), environ or {})
    assert all(problem.severity == "warning" for problem in found)
    return [f"{problem.line}: {problem.key}: {problem.code}: {problem.message}" for problem in found]


def test_a_good_file_has_no_warning() -> None:
    """Nothing is said about a file about which there is nothing to say."""
    assert warnings(PROVIDERS) == []


def test_a_rule_after_an_unconditional_one_is_dead() -> None:
    """A rule without conditions takes all requests of its routes; what follows for these routes is never reached."""
    text = (
        PROVIDERS
        + "rules:\n  - {name: all, then: {targets: [small]}}\n  - {name: code, when: {code: true}, then: {targets: [large]}}\n"
    )
    assert warnings(text) == [
        "7: rules[1].name: dead_rule: never reached: the rule `all` on line 6 takes every request of its routes"
    ]


def test_a_rule_for_another_route_is_alive() -> None:
    """An unconditional rule is dead weight only for its own routes."""
    text = (
        PROVIDERS
        + "rules:\n  - {name: all, then: {targets: [small]}}\n  - {name: b, when: {route: best}, then: {targets: [large]}}\n"
    )
    assert warnings(text) == []


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("{code: true}", "{code: true, tools: true}"),
        ("{prompt_tokens: {at_least: 1000}}", "{prompt_tokens: {at_least: 2000, at_most: 3000}}"),
        ("{route: [auto, best]}", "{route: auto, code: true}"),
        ("{route: '*', code: true}", "{route: fast, code: true}"),
        ("{path: '/v1/chat/*'}", "{path: /v1/chat/completions, stream: true}"),
        ("{headers: {x-team: 'search*'}}", "{headers: {x-team: search-eu, x-other: a}}"),
        ("{images: false}", "{images: false}"),
    ],
)
def test_a_narrower_rule_behind_a_wider_one_is_shadowed(earlier: str, later: str) -> None:
    """Whatever the later rule matches, the earlier one has taken."""
    text = PROVIDERS + f"rules:\n  - {{name: a, when: {earlier}, then: {{targets: [small]}}}}\n"
    text += f"  - {{name: b, when: {later}, then: {{targets: [large]}}}}\n"
    assert [line.split(": ")[2] for line in warnings(text)] in (["shadowed_rule"], ["dead_rule"])


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("{code: true, tools: true}", "{code: true}"),
        ("{prompt_tokens: {at_least: 1000}}", "{prompt_tokens: {at_most: 3000}}"),
        ("{route: auto, code: true}", "{route: [auto, best], code: true}"),
        ("{path: /v1/chat/completions}", "{path: '/v1/chat/*'}"),
        ("{headers: {x-team: search}}", "{headers: {x-team: 'search*'}}"),
        ("{images: true}", "{images: false}"),
        ("{stream: true}", "{code: true}"),
    ],
)
def test_a_rule_that_still_gets_something_is_not_shadowed(earlier: str, later: str) -> None:
    """A rule that matches one request more than those before it is worth keeping."""
    text = PROVIDERS + f"rules:\n  - {{name: a, when: {earlier}, then: {{targets: [small]}}}}\n"
    text += f"  - {{name: b, when: {later}, then: {{targets: [large]}}}}\n"
    assert warnings(text) == []


def test_a_quality_that_nobody_asks_for() -> None:
    """Only auto asks how likely a good answer is; elsewhere a quality was perhaps meant to be min_quality."""
    text = PROVIDERS + "routes: {a: {quality: 0.8}, b: {strategy: best, quality: 0.8}, c: {targets: [small], quality: 0.8}}\n"
    tail = "does not ask whether a model is good enough"
    assert warnings(text) == [
        f"5: routes.b.quality: quality_without_effect: has no effect: the strategy best {tail}",
        f"5: routes.c.quality: quality_without_effect: has no effect: the strategy ordered {tail}",
    ]


def test_examples_that_nobody_asks_for() -> None:
    """Tasks and semantic routes that neither rules nor models name are told, and an encoder without routes."""
    text = (
        PROVIDERS
        + """\
analysis:
  encoder: minilm
  tasks: {used: [a, b, c, d, e], strong: [a, b, c, d, e], spare: [a, b, c, d, e]}
models: {small: {strengths: [strong]}}
rules: [{name: r, when: {task: used}, then: {targets: [large]}}]
"""
    )
    alone = "has no effect: minilm only compares texts with semantic routes, and there are none"
    assert warnings(text) == [
        f"6: analysis.encoder: encoder_without_effect: {alone}",
        "7: analysis.tasks.spare: unused_task: neither a rule nor a model's strengths name `spare`",
    ]
    text = (
        PROVIDERS
        + """\
analysis: {encoder: minilm, semantic_routes: {used: {description: x}, spare: {description: y}}}
rules: [{name: r, when: {semantic_route: used}, then: {targets: [large]}}]
"""
    )
    assert warnings(text) == ["5: analysis.semantic_routes.spare: unused_route: no rule asks for `spare`"]


def test_a_rule_for_a_passthrough_route_is_dead() -> None:
    """Passthrough skips rules."""
    text = PROVIDERS + "routes: {raw: {mode: passthrough, targets: [small]}}\n"
    text += "rules:\n  - {name: code, when: {route: raw, code: true}, then: {targets: [large]}}\n"
    assert warnings(text) == [
        "7: rules[0].name: dead_rule: never applies: the route `raw` is passthrough, which looks at no rules"
    ]


def test_keys_that_cannot_be_had(tmp_path: Path) -> None:
    """Variables that are unset or empty and files that are missing, empty or no files are named where they are written."""
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "good").write_text("sk-canary-0123456789abcdef\n")
    text = f"""\
providers:
  local:
    base_url: https://example.com/v1
    credentials:
      - env: UNSET_KEY
      - env: EMPTY_KEY
      - env: SET_KEY
      - file: {tmp_path}/absent
      - file: {tmp_path}/empty
      - file: {tmp_path}
      - file: {tmp_path}/good
    models: [small]
"""
    found = warnings(text, {"EMPTY_KEY": " ", "SET_KEY": "sk-canary-0123456789abcdef"})
    assert found == [
        "5: providers.local.credentials[0].env: missing_key_variable: the environment variable UNSET_KEY is not set",
        "6: providers.local.credentials[1].env: missing_key_variable: the environment variable EMPTY_KEY is empty",
        f"8: providers.local.credentials[3].file: missing_key_file: {tmp_path}/absent does not exist",
        f"9: providers.local.credentials[4].file: missing_key_file: {tmp_path}/empty is empty",
        f"10: providers.local.credentials[5].file: missing_key_file: {tmp_path} is not a file",
    ]


def test_certificates_that_are_none(tmp_path: Path) -> None:
    """A certificate and a key given the wrong way round are noticed before Envoy is."""
    (tmp_path / "server.pem").write_text("-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n")
    (tmp_path / "server.key").write_text("-----BEGIN EC PRIVATE KEY-----\nMII\n-----END EC PRIVATE KEY-----\n")
    right = PROVIDERS + f"listener: {{tls: {{certificate: {tmp_path}/server.pem, key: {tmp_path}/server.key}}}}\n"
    wrong = PROVIDERS + f"listener: {{tls: {{certificate: {tmp_path}/server.key, key: {tmp_path}/server.pem}}}}\n"
    assert warnings(right) == []
    assert [line.rpartition(": ")[2] for line in warnings(wrong)] == [
        f"{tmp_path}/server.key holds no certificate in PEM form",
        f"{tmp_path}/server.pem holds no private key in PEM form",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("envoy: {admin_address: 0.0.0.0}", "5: envoy.admin_address: exposed_admin: whoever can connect here can stop Envoy"),
        (
            "defaults: {timeouts: {attempt: 20m}}",
            "5: defaults.timeouts.attempt: timeout_without_effect: 1200s is above the deadline of 600s" + ENDS,
        ),
        (
            "routes: {auto: {timeouts: {deadline: 5s, first_token: 6s}}}",
            "5: routes.auto.timeouts.first_token: timeout_without_effect: 6s is above the deadline of 5s" + ENDS,
        ),
        (
            "routes: {auto: {strategy: cheap, targets: [{model: small, weight: 1}, {model: large, weight: 2}]}}",
            "5: routes.auto.targets[0].weight: weight_without_effect: has no effect: the strategy cheap decides the order",
        ),
        (
            "routes: {auto: {targets: [{model: small, weight: 1}, large]}}",
            "5: routes.auto.targets[1]: weight_missing: has no weight, though its neighbours have: it is tried after them",
        ),
        (
            "routes: {auto: {targets: [{model: small, weight: 1}]}}",
            "5: routes.auto.targets[0].weight: weight_without_effect: has no effect: there is only one target",
        ),
        (
            "models: {other: {deployments: [{provider: local, weight: 3}]}}",
            "5: models.other.deployments[0].weight: weight_without_effect: has no effect: there is only one deployment",
        ),
        (
            "routes: {auto: {allow_cross_model: true}}",
            "5: routes.auto.allow_cross_model: permission_without_effect: has no effect: the route is not named like a model",
        ),
        (
            "routes: {auto: {retry: {max_attempts: 1}, last_resort: [large]}}",
            "5: routes.auto.last_resort: fallback_without_effect: never used: the route makes one attempt",
        ),
    ],
)
def test_settings_without_effect(text: str, expected: str) -> None:
    """What is written and does nothing, or gives something away, is pointed out where it stands."""
    assert warnings(PROVIDERS + text + "\n") == [expected]


def test_a_weight_among_several_deployments_has_effect() -> None:
    """The provider's own list counts as a second deployment."""
    assert warnings(PROVIDERS + "models: {small: {deployments: [{provider: local, name: second, weight: 3}]}}\n") == []


@pytest.mark.parametrize(
    ("base_url", "code"),
    [
        ("http://example.com/v1", "plain_key"),
        ("https://example.com/v1/chat/completions", "base_url_with_path"),
        ("http://127.0.0.1:8000/v1", None),
        ("http://localhost:8000/v1", None),
        ("https://example.com/v1", None),
    ],
)
def test_base_urls_that_are_probably_wrong(base_url: str, code: str | None) -> None:
    """A key is not sent in plain text beyond the machine in silence, and the API's path is not written twice."""
    text = f"providers:\n  p: {{base_url: '{base_url}', credentials: [{{env: SET_KEY}}], models: [small]}}\n"
    assert [line.split(": ")[2] for line in warnings(text, {"SET_KEY": "x"})] == ([code] if code else [])
