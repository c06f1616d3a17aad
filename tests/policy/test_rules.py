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


READ = build.chat(
    "auto",
    analysis=Facts(
        turn=3,
        language="fr",
        task="code",
        tasks={"code": 0.9, "math": 0.5, "chat": 0.4},
        risk="none",
        complexity=7,
        needs_strong=0.75,
        injection=0.125,
        keywords=frozenset({"refund", "tax"}),
        semantic_route="returns",
    ),
)


@pytest.mark.parametrize(
    ("condition", "unmet"),
    [
        (Condition(turn=Bounds(3, 3)), None),
        (Condition(turn=Bounds(None, 2)), "turn of 3 is above 2"),
        (Condition(languages=("en", "fr")), None),
        (Condition(languages=("en",)), "language is fr"),
        (Condition(tasks=("code",)), None),
        (Condition(tasks=("math",)), None),
        (Condition(tasks=("chat", "qa")), "task is code"),
        (Condition(risks=("none",)), None),
        (Condition(risks=("medical", "legal")), "risk is none"),
        (Condition(complexity=Bounds(8)), "complexity of 7 is below 8"),
        (Condition(needs_strong=Bounds(0.5, 0.8)), None),
        (Condition(needs_strong=Bounds(None, 0.7)), "needs_strong of 0.75 is above 0.7"),
        (Condition(injection=Bounds(0.9)), "injection of 0.125 is below 0.9"),
        (Condition(semantic_routes=("returns",)), None),
        (Condition(semantic_routes=("hiring",)), "semantic route is returns"),
        (Condition(any_keyword=("vat", "tax")), None),
        (Condition(any_keyword=("vat",)), "no keyword stands in the text"),
        (Condition(all_keywords=("refund", "tax"), no_keyword=("vat",)), None),
        (Condition(all_keywords=("refund", "vat")), "keyword `vat` does not stand in the text"),
        (Condition(no_keyword=("tax",)), "keyword `tax` stands in the text"),
    ],
)
def test_conditions_on_what_the_text_says(condition: Condition, unmet: str | None) -> None:
    """What was read of the text is held against the condition; a kind of work that is likely beside another counts too."""
    assert why_unmet(condition, READ) == unmet


@pytest.mark.parametrize(
    ("condition", "unmet"),
    [
        (Condition(code=False), "code is not known"),
        (Condition(turn=Bounds(1)), "turn is not known"),
        (Condition(languages=("en",)), "language is not known"),
        (Condition(tasks=("code",)), "task is not known"),
        (Condition(risks=("none",)), "risk is not known"),
        (Condition(complexity=Bounds(0)), "complexity is not known"),
        (Condition(injection=Bounds(None, 1)), "injection is not known"),
        (Condition(no_keyword=("tax",)), "keywords: not known"),
        (Condition(semantic_routes=("returns",)), "semantic route is none"),
    ],
)
def test_what_is_not_known_meets_nothing(condition: Condition, unmet: str) -> None:
    """A rule never holds because its question could not be answered, not even one that asks for little."""
    assert why_unmet(condition, build.chat("auto")) == unmet


def test_the_dear_is_asked_last() -> None:
    """A condition that fails on the form of a request never asks what its text says."""

    class Untouchable(Facts, frozen=True):
        @property
        def risk(self) -> None:  # type: ignore[override]
            raise AssertionError("asked")

    request = build.chat("auto", analysis=Untouchable())
    assert why_unmet(Condition(tools=True, risks=("medical",)), request) == "tools is false"


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
