"""What a request needs decides who may see it: a model without it is never asked, whatever fails and whatever was wished."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.end_to_end.running import Instance, Simulators

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("healed")]

NAMES = ("plain", "sighted", "skilled", "strict", "roomy", "able")

# `plain` is the first of every list and by far the cheapest: whoever does not look at capabilities picks it.
CONFIGURATION = """
cooling: {failures: 1000000, window: 1ms}
defaults: {retry: {max_attempts: 6}}
providers:
  plain: {base_url: $plain/v1}
  sighted: {base_url: $sighted/v1}
  skilled: {base_url: $skilled/v1}
  strict: {base_url: $strict/v1}
  roomy: {base_url: $roomy/v1}
  able: {base_url: $able/v1}
models:
  plain:
    deployments: [{provider: plain}]
    capabilities: []
    context_window: 2000
    prices: {input: 0.01, output: 0.01}
  sighted:
    deployments: [{provider: sighted}]
    capabilities: [vision]
    context_window: 2000
    prices: {input: 1, output: 1}
  skilled:
    deployments: [{provider: skilled}]
    capabilities: [tools]
    context_window: 2000
    prices: {input: 1, output: 1}
  strict:
    deployments: [{provider: strict}]
    capabilities: [json_mode, json_schema]
    context_window: 2000
    prices: {input: 1, output: 1}
  roomy:
    deployments: [{provider: roomy}]
    capabilities: []
    context_window: 100000
    prices: {input: 1, output: 1}
  able:
    deployments: [{provider: able}]
    capabilities: [vision, tools, json_mode, json_schema]
    context_window: 100000
    prices: {input: 5, output: 5}
routes:
  targets: {targets: [plain, sighted, skilled, strict, roomy, able]}
  same-tier: {targets: [able]}
  last-resort: {targets: [able], same_tier: false, last_resort: [plain, sighted, skilled, strict, roomy]}
  by-cause:
    targets: [able]
    same_tier: false
    after:
      rate_limited: [plain, sighted, skilled, strict, roomy]
      server_error: [plain, sighted, skilled, strict, roomy]
      context_length: [plain, sighted, skilled, strict, roomy]
"""

ROUTES = ["auto", "cheap", "best", "fast", "targets", "same-tier", "last-resort", "by-cause"]

PICTURE = "data:image/png;base64," + base64.b64encode(bytes(6_000)).decode()
"""As text it would be some 2,000 tokens, more than most windows here."""

TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object", "properties": {}}}}

SIMULATED = {name: {} for name in NAMES}


def said(*content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(content) if len(content) > 1 else content[0]}]


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def picture() -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": PICTURE}}


NEEDS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "a picture": ({"messages": said(text("What is this?"), picture())}, {"sighted", "able"}),
    "tools": ({"messages": said("Hello"), "tools": [TOOL]}, {"skilled", "able"}),
    "a schema": ({"messages": said("Hello"), "response_format": SCHEMA}, {"strict", "able"}),
    "a long context": ({"messages": said("word " * 4_000)}, {"roomy", "able"}),
    "a long answer": ({"messages": said("word " * 900), "max_tokens": 1_500}, {"roomy", "able"}),
    "a picture and tools": ({"messages": said(text("?"), picture()), "tools": [TOOL]}, {"able"}),
    "a long context and a schema": ({"messages": said("word " * 4_000), "response_format": SCHEMA}, {"able"}),
}
"""What a request asks for, and who can do it."""


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("need", NEEDS)
def test_only_who_can_is_asked_though_all_fail(instance: Instance, simulators: Simulators, need: str, route: str) -> None:
    """With everybody down, each of the capable is tried and nobody else ever sees the request."""
    body, able = NEEDS[need]
    for name in NAMES:
        simulators.faults(name, status=503)
    answer = instance.ask(route, **body)
    assert answer.status_code == 503
    asked = simulators.asked()
    assert set(asked) <= able
    assert "able" in asked
    assert int(answer.headers["x-router-attempts"]) == sum(asked.values()) == len(able)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("need", NEEDS)
def test_who_can_serves(instance: Instance, simulators: Simulators, need: str, *, stream: bool) -> None:
    """The cheapest of the capable answers at the first attempt; the incapable are passed over without an attempt."""
    body, able = NEEDS[need]
    answer = instance.ask("cheap", stream=stream, **body)
    assert (answer.status_code, answer.headers["x-router-attempts"]) == (200, "1")
    assert answer.headers["x-router-model"] == min(able, key=lambda name: name == "able")
    assert set(simulators.asked()) <= able


def test_a_request_without_needs_goes_anywhere(instance: Instance) -> None:
    """The cheapest is good enough for who asks for nothing more."""
    assert instance.ask("cheap", messages=said("Hello")).headers["x-router-model"] == "plain"


@pytest.mark.parametrize(
    ("model", "need", "code"),
    [
        ("plain", "a picture", "missing_capability"),
        ("plain", "tools", "missing_capability"),
        ("plain", "a schema", "missing_capability"),
        ("skilled", "a picture and tools", "missing_capability"),
        ("plain", "a long context", "context_length_exceeded"),
        ("plain", "a long answer", "context_length_exceeded"),
    ],
)
def test_a_named_model_that_cannot_is_refused_with_the_reason(
    instance: Instance, simulators: Simulators, model: str, need: str, code: str
) -> None:
    """Who names a model that cannot do it is told what is missing, and nobody is asked in its place."""
    answer = instance.ask(model, **NEEDS[need][0])
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    assert answer.headers["x-router-reason"] == code
    assert simulators.asked() == {}


def test_a_data_url_is_no_text(instance: Instance) -> None:
    """A picture of 8 kB is no prompt of 2,000 tokens: a model with a small window may see it."""
    answer = instance.ask("sighted", messages=said(text("What is this?"), picture()))
    assert (answer.status_code, answer.headers["x-router-model"]) == (200, "sighted")
