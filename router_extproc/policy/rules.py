"""Rules: the first one whose condition holds replaces the route's plan."""

from __future__ import annotations

from router_extproc.analysis.analysis import LIKELY
from router_extproc.facts import Analysis
from router_extproc.registry.snapshot import Bounds, Condition, Rule
from router_extproc.request import Request

# The dearest last.
_FIGURES = ("turn", "complexity", "needs_strong", "injection")


def first_matching(rules: tuple[Rule, ...], request: Request) -> Rule | None:
    """The first of a route's rules, in file order, whose condition holds."""
    for rule in rules:
        if why_unmet(rule.when, request) is None:
            return rule
    return None


def applies_to(condition: Condition, route: str) -> bool:
    """Whether the rule is meant for the route at all."""
    return any(matches(pattern, route) for pattern in condition.routes)


def why_unmet(condition: Condition, request: Request) -> str | None:
    """What of the condition the request does not meet, or None when it holds; what costs least is asked first.

    What is not known meets nothing.
    """
    for unmet in (_form_unmet, _keywords_unmet, _text_unmet):
        if (found := unmet(condition, request)) is not None:
            return found
    return None


def _form_unmet(condition: Condition, request: Request) -> str | None:  # noqa: PLR0911 - one return for each reason
    """What of the headers and the form of the body does not fit."""
    if condition.path is not None and not matches(condition.path, request.path):
        return f"path is {request.path}"
    for name, pattern in condition.headers:
        value = request.headers.get(name)
        if value is None or not matches(pattern, value):
            return f"header {name} is {'absent' if value is None else 'another'}"
    if condition.stream is not None and condition.stream != request.stream:
        return f"stream is {_word(request.stream)}"
    analysis = request.analysis
    if condition.tools is not None and condition.tools != analysis.has_tools:
        return f"tools is {_word(analysis.has_tools)}"
    if condition.images is not None and condition.images != (analysis.images > 0):
        return f"images is {_word(analysis.images > 0)}"
    if condition.prompt_tokens is not None:
        tokens, bounds = analysis.prompt_tokens, condition.prompt_tokens
        if (found := _beyond(tokens, bounds)) is not None:
            return f"prompt of {tokens} tokens is {found}"
    if condition.code is not None and condition.code != analysis.has_code:
        return f"code is {_word(analysis.has_code)}"
    return None


def _keywords_unmet(condition: Condition, request: Request) -> str | None:
    if not condition.keywords:
        return None
    analysis = request.analysis
    found = analysis.keywords
    if found is None:
        return "keywords: not known"
    if condition.any_keyword and not any(phrase in found for phrase in condition.any_keyword):
        return "no keyword stands in the text"
    for phrase in condition.all_keywords:
        if phrase not in found:
            return f"keyword `{phrase}` does not stand in the text"
    for phrase in condition.no_keyword:
        if phrase in found:
            return f"keyword `{phrase}` stands in the text"
    return None


def _text_unmet(condition: Condition, request: Request) -> str | None:  # noqa: PLR0911 - one return for each reason
    """What of the text does not fit."""
    analysis = request.analysis
    if condition.languages and analysis.language not in condition.languages:
        return f"language is {_name(analysis.language)}"
    if condition.semantic_routes and analysis.semantic_route not in condition.semantic_routes:
        # Of none of them a text is as well when it was read, so that is no lack of knowledge.
        return f"semantic route is {analysis.semantic_route or 'none'}"
    if condition.tasks and not any(is_task(name, analysis) for name in condition.tasks):
        return f"task is {_name(analysis.task)}"
    if condition.risks and analysis.risk not in condition.risks:
        return f"risk is {_name(analysis.risk)}"
    for name in _FIGURES:
        bounds = getattr(condition, name)
        if bounds is not None:
            figure = getattr(analysis, name)
            if figure is None:
                return f"{name} is not known"
            if (found := _beyond(figure, bounds)) is not None:
                return f"{name} of {figure:.3g} is {found}"
    return None


def is_task(name: str, analysis: Analysis) -> bool:
    """Whether a request asks for this kind of work, be it beside others."""
    return analysis.task == name or analysis.tasks.get(name, 0.0) >= LIKELY


def _beyond(figure: float, bounds: Bounds) -> str | None:
    if bounds.at_least is not None and figure < bounds.at_least:
        return f"below {bounds.at_least:g}"
    if bounds.at_most is not None and figure > bounds.at_most:
        return f"above {bounds.at_most:g}"
    return None


def _name(value: str | None) -> str:
    return "not known" if value is None else value


def matches(pattern: str, value: str) -> bool:
    """Exactly, or by prefix when the pattern ends in ``*``."""
    return value.startswith(pattern[:-1]) if pattern.endswith("*") else value == pattern


def _word(value: bool | None) -> str:  # noqa: FBT001 - a value that is printed, not an option
    return {True: "true", False: "false", None: "not known"}[value]
