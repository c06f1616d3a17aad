"""Rules: the first one whose condition holds replaces the route's plan."""

from __future__ import annotations

from router_extproc.registry.snapshot import Condition, Rule
from router_extproc.request import Request


def first_matching(rules: tuple[Rule, ...], request: Request) -> Rule | None:
    """The first of a route's rules, in file order, whose condition holds."""
    for rule in rules:
        if why_unmet(rule.when, request) is None:
            return rule
    return None


def applies_to(condition: Condition, route: str) -> bool:
    """Whether the rule is meant for the route at all."""
    return any(matches(pattern, route) for pattern in condition.routes)


def why_unmet(condition: Condition, request: Request) -> str | None:  # noqa: PLR0911 - one return for each reason
    """What of the condition the request does not meet, or None when it holds."""
    facts = request.facts
    if condition.path is not None and not matches(condition.path, request.path):
        return f"path is {request.path}"
    for name, pattern in condition.headers:
        value = request.headers.get(name)
        if value is None or not matches(pattern, value):
            return f"header {name} is {'absent' if value is None else 'another'}"
    if condition.stream is not None and condition.stream != request.stream:
        return f"stream is {_word(request.stream)}"
    tokens = facts.prompt_tokens
    if condition.prompt_tokens_at_least is not None and tokens < condition.prompt_tokens_at_least:
        return f"prompt of {tokens} tokens is below {condition.prompt_tokens_at_least}"
    if condition.prompt_tokens_at_most is not None and tokens > condition.prompt_tokens_at_most:
        return f"prompt of {tokens} tokens is above {condition.prompt_tokens_at_most}"
    for wanted, found, name in (
        (condition.code, facts.has_code, "code"),
        (condition.tools, facts.has_tools, "tools"),
        (condition.images, facts.images > 0, "images"),
    ):
        if wanted is not None and wanted != found:
            return f"{name} is {_word(found)}"
    return None


def matches(pattern: str, value: str) -> bool:
    """Exactly, or by prefix when the pattern ends in ``*``."""
    return value.startswith(pattern[:-1]) if pattern.endswith("*") else value == pattern


def _word(value: bool) -> str:  # noqa: FBT001 - a value that is printed, not an option
    return "true" if value else "false"
