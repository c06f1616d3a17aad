"""Deployments that nobody can reach are left out when the registry is compiled."""

from __future__ import annotations

import pytest

from router_extproc.config.load import parse_config
from router_extproc.envoyconf.secrets import deployments_without_key
from router_extproc.errors import UnavailableError
from router_extproc.registry.catalogue import load_catalogue
from router_extproc.registry.compile import compile_registry
from router_extproc.router import Router

CONFIG = parse_config("""
providers:
  openai: {base_url: https://api.openai.com/v1, credentials: [{env: FIRST}, {env: SECOND}], models: [gpt-5.4-mini]}
  mistral: {base_url: https://api.mistral.ai/v1, credentials: [{env: THIRD}], models: [mistral-large-latest]}
  local: {base_url: "http://127.0.0.1:8000/v1", models: [llama]}
""")


def test_a_deployment_without_its_key_is_known() -> None:
    """A key that is missing or blank counts as none; a provider that asks for none needs none."""
    keyless = deployments_without_key(CONFIG, {"FIRST": "x", "THIRD": " "})
    assert keyless == {"openai/gpt-5.4-mini@2", "mistral/mistral-large-latest"}
    assert deployments_without_key(CONFIG, {"FIRST": "x", "SECOND": "y", "THIRD": "z"}) == frozenset()


def test_what_is_left_out_is_in_no_chain() -> None:
    """Neither decisions nor the default chain lead there; another key of the same model still serves it."""
    registry = compile_registry(CONFIG, load_catalogue(), deployments_without_key(CONFIG, {"SECOND": "x"}))
    assert "mistral/mistral-large-latest" not in registry.default_chain
    router = Router(registry)
    decision = router.decide(router.read("POST", "/v1/chat/completions", {}, b'{"model": "gpt-5.4-mini", "messages": []}'))
    assert [attempt.deployment for attempt in decision.chain] == ["openai/gpt-5.4-mini@2"]


def test_a_model_that_nobody_can_reach_says_so() -> None:
    """Its name stays known: 503 with a reason, not 404."""
    router = Router(compile_registry(CONFIG, load_catalogue(), deployments_without_key(CONFIG, {})))
    request = router.read("POST", "/v1/chat/completions", {}, b'{"model": "mistral-large-latest", "messages": []}')
    with pytest.raises(UnavailableError, match="mistral-large-latest"):
        router.decide(request)


def test_requests_that_nobody_read_go_first_to_models_that_take_anything() -> None:
    """The default chain cannot look for tools or images, so a model that refuses them does not stand first."""
    config = parse_config("""
providers:
  a: {base_url: "http://127.0.0.1:1/v1"}
models:
  plain: {deployments: [{provider: a}], tier: economy, capabilities: [], prices: {input: 1, output: 1}}
  able: {deployments: [{provider: a}], tier: economy, capabilities: [tools, vision], prices: {input: 2, output: 2}}
""")
    assert compile_registry(config, load_catalogue()).default_chain == ("a/able", "a/plain")
