"""Conditions of rules: all that is written must hold."""

from __future__ import annotations

import pytest

from router_extproc.facts import Facts
from router_extproc.policy.rules import applies_to, why_unmet
from router_extproc.registry.snapshot import Bounds, Condition
from tests.policy import registries as build

FACTS = Facts(prompt_tokens=100, images=1, has_code=True, has_tools=False)
REQUEST = build.chat("auto", analysis=FACTS, stream=True, headers={"x-team": "red-7"})


@pytest.mark.parametrize(
    ("condition", "unmet"),
    [
        (Condition(), None),
        (Condition(path="/v1/chat/*"), None),
        (Condition(path="/v1/chat"), "path is /v1/chat/completions"),
        (Condition(headers=(("x-team", "red-*"),)), None),
        (Condition(headers=(("x-team", "red"),)), "header x-team is another"),
        (Condition(headers=(("x-team", "red-*"), ("x-other", "*"))), "header x-other is absent"),
        (Condition(prompt_tokens=Bounds(100, 100)), None),
        (Condition(prompt_tokens=Bounds(101)), "prompt of 100 tokens is below 101"),
        (Condition(prompt_tokens=Bounds(None, 99)), "prompt of 100 tokens is above 99"),
        (Condition(code=True, tools=False, images=True, stream=True), None),
        (Condition(code=False), "code is true"),
        (Condition(tools=True), "tools is false"),
        (Condition(images=False), "images is true"),
        (Condition(stream=False), "stream is true"),
        (Condition(stream=True, code=False), "code is true"),
    ],
)
def test_conditions(condition: Condition, unmet: str | None) -> None:
    """A condition says what is missing, and never a header's value, which may be secret."""
    assert why_unmet(condition, REQUEST) == unmet


@pytest.mark.parametrize(
    ("routes", "route", "applies"),
    [
        (("auto",), "auto", True),
        (("auto",), "fast", False),
        (("a*", "b"), "abc", True),
        (("a*", "b"), "bc", False),
        (("*",), "x", True),
    ],
)
def test_a_rule_is_for_its_routes(routes: tuple[str, ...], route: str, applies: bool) -> None:  # noqa: FBT001 - a table's column
    """Routes match by name, or by prefix with a star."""
    assert applies_to(Condition(routes=routes), route) is applies
