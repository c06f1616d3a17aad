"""What a configuration means once its models are known."""

from __future__ import annotations

import pytest

from router_extproc.config.load import parse_document
from router_extproc.registry.catalogue import load_catalogue
from router_extproc.registry.compile import compile_registry
from router_extproc.registry.lint import lint_registry

# Two tiers, two keys' worth of places, all facts known: nothing to say.
BASE = """\
providers:
  one: {base_url: https://one.example.com/v1, models: [small, large]}
  two: {base_url: https://two.example.com/v1, models: [small, large]}
models:
  small: {tier: economy, context_window: 8000, capabilities: [], prices: {input: 1, output: 2}}
  large: {tier: premium, context_window: 128000, capabilities: [vision, tools], prices: {input: 9, output: 9}}
"""
TOO_HIGH = "no model of this plan reaches the tier standard: every request is answered 503"
TOO_GOOD = "no model of this plan reaches the quality 0.6: every request is answered 503"
AGAIN = "no model here has a context window above 128000 tokens: the prompt fails again"
TOO_LONG = "the rule selects prompts above 8000 tokens, and no model it names has such a context window"


def warnings(text: str) -> list[str]:
    """Line, key, code and message of each warning."""
    document = parse_document(text)
    found = lint_registry(document, compile_registry(document.config, load_catalogue()))
    assert all(problem.severity == "warning" and problem.fix for problem in found)
    return [f"{problem.line}: {problem.key}: {problem.code}: {problem.message}" for problem in found]


def test_a_complete_file_has_no_warning() -> None:
    """Nothing is said about a configuration that has prices, limits and something to fall back to."""
    assert warnings(BASE) == []


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (
            "routes: {team: {targets: [{deployment: one/small}], same_tier: false}}",
            "7: routes.team: chain_of_one: a chain of one: when `one/small` fails there is nowhere else to go",
        ),
        (
            "routes: {team: {targets: [small], min_tier: standard, same_tier: false}}",
            "7: routes.team.min_tier: unreachable_min_tier: " + TOO_HIGH,
        ),
        (
            "routes: {team: {targets: [small, large], min_tier: premium}}",
            "7: routes.team.targets[0]: unused_target: never used: `small` is economy, below min_tier premium",
        ),
        (
            "routes: {team: {targets: [small, large], min_quality: 0.6}}",
            "7: routes.team.min_quality: unreachable_min_quality: " + TOO_GOOD,
        ),
        (
            "routes: {team: {targets: [small, {deployment: one/large}], min_tier: premium, min_quality: 0.6}}",
            "7: routes.team.min_quality: unreachable_min_quality: " + TOO_GOOD,
        ),
        (
            "  fine: {quality: 0.7, deployments: [{provider: one}]}\nroutes: {x: {targets: [large, fine], min_quality: 0.6}}",
            "8: routes.x.targets[0]: unused_target: never used: `large` is of quality 0.5, below min_quality 0.6",
        ),
        (
            "default_chain: [small]\nroutes: {auto: {targets: [large], min_quality: 0.6}}",
            "7: default_chain: weak_default_chain: `one/small` is of quality 0.5, below auto's min_quality 0.6",
        ),
        (
            "routes: {team: {targets: [small, {tier: standard}]}}",
            "7: routes.team.targets: empty_tier: no model is of the tier standard",
        ),
        (
            "routes: {team: {targets: [large], after: {context_length: [small]}}}",
            "7: routes.team.after.context_length: no_longer_context: " + AGAIN,
        ),
        (
            "rules: [{name: r, when: {images: true}, then: {targets: [small]}}]",
            "7: rules[0].then: no_capable_model: the rule selects requests with images, and no model it names can handle them",
        ),
        (
            "rules: [{name: r, when: {tools: true}, then: {targets: [small]}}]",
            "7: rules[0].then: no_capable_model: the rule selects requests with tools, and no model it names can handle them",
        ),
        (
            "rules: [{name: r, when: {path: /v1/rerank}, then: {targets: [small]}}]",
            "7: rules[0].then: no_capable_model: no deployment it names serves the path /v1/rerank",
        ),
        (
            "rules: [{name: r, when: {prompt_tokens: {at_least: 9000}}, then: {targets: [small]}}]",
            "7: rules[0].then: no_capable_model: " + TOO_LONG,
        ),
        (
            "default_chain: [small]\nroutes: {auto: {targets: [large], min_tier: premium}}",
            "7: default_chain: weak_default_chain: `one/small` is economy, below auto's min_tier premium",
        ),
    ],
)
def test_each_weakness_is_named_where_it_is_written(more: str, expected: str) -> None:
    """A plan that cannot do what it says, or has nothing to fall back to, is pointed out at its place."""
    assert expected in warnings(BASE + more + "\n")


def test_what_is_right_is_not_named() -> None:
    """The same settings with a model that fits give no warning."""
    assert (
        warnings(
            BASE
            + """\
routes:
  team: {targets: [small], after: {context_length: [large]}, min_tier: economy, min_quality: 0.5}
rules:
  - {name: images, when: {images: true}, then: {targets: [large]}}
  - {name: long, when: {prompt_tokens: {at_least: 9000}}, then: {targets: [small, large]}}
  - {name: vectors, when: {path: "/v1/chat/*", code: true}, then: {targets: [small]}}
"""
        )
        == []
    )


def test_unknown_models_are_named_once_for_each_gap() -> None:
    """A model outside the catalogue is pointed out where it stands, with the keys that would describe it."""
    found = warnings(
        "providers:\n  own:\n    base_url: http://127.0.0.1:8000/v1\n    models: [mine, other]\nmodels: {other: {}}\n"
    )
    assert [line.split(": ")[:3] for line in found if "unknown" in line or "unpriced" in line] == [
        ["4", "providers.own.models[0]", "unpriced_model"],
        ["4", "providers.own.models[0]", "unknown_context_window"],
        ["4", "providers.own.models[0]", "unknown_capabilities"],
        ["5", "models.other", "unpriced_model"],
        ["5", "models.other", "unknown_context_window"],
        ["5", "models.other", "unknown_capabilities"],
    ]


def test_a_known_model_is_not_named() -> None:
    """What the catalogue describes needs no words in the file."""
    models = "[gpt-4o-mini, gpt-4o, text-embedding-3-small]"
    assert warnings(f"providers: {{openai: {{base_url: 'https://api.openai.com/v1', models: {models}}}}}\n") == []


def test_a_single_place_for_everything_is_a_chain_of_one() -> None:
    """With one model on one key, auto has nowhere to go when it fails."""
    found = warnings("providers: {openai: {base_url: 'https://api.openai.com/v1', models: [gpt-4o]}}\n")
    assert [line.split(": ")[1:3] for line in found] == [["routes.auto", "chain_of_one"]]


def test_only_models_without_text_leave_auto_empty() -> None:
    """Where no model generates text, auto serves nothing and Envoy has no chain."""
    found = warnings("providers: {openai: {base_url: 'https://api.openai.com/v1', models: [text-embedding-3-small]}}\n")
    assert {line.split(": ")[2] for line in found} == {"no_capable_model", "no_default_chain"}


def test_a_provider_without_models_is_named() -> None:
    """A provider that nothing uses is probably a slip."""
    text = BASE.replace("models:\n  small", "  spare: {base_url: https://three.example.com/v1}\nmodels:\n  small")
    assert warnings(text) == ["4: providers.spare: unused_provider: no model uses this provider"]


def test_a_region_without_deployment_is_a_hole() -> None:
    """A plan that serves one region of several says what happens to those who ask for another."""
    text = BASE.replace("one.example.com/v1,", "one.example.com/v1, region: eu,").replace(
        "two.example.com/v1,", "two.example.com/v1, region: us,"
    )
    text += "routes: {team: {targets: [{deployment: one/small}, {deployment: one/large}]}}\n"
    assert warnings(text) == [
        "7: routes.team: region_hole: no deployment in the region us: requests that ask for it are answered 400"
    ]


def test_an_output_limit_above_the_window_is_a_slip() -> None:
    """A model cannot write more than its window holds."""
    (line,) = warnings(BASE.replace("context_window: 8000,", "context_window: 8000, output_limit: 9000,"))
    assert line == "5: models.small: contradiction: output_limit 9000 is above the context window of 8000"


def test_a_target_behind_a_wildcard_is_judged_by_it() -> None:
    """Of a name that only a wildcard matches nothing more is known than of the wildcard."""
    text = (
        BASE.replace("[small, large]}\nmodels", '[small, large, "ft/*"]}\nmodels')
        + "routes: {team: {targets: [ft/one, small]}}\n"
    )
    assert warnings(text) == []


def test_a_wildcard_in_the_default_chain_is_named() -> None:
    """Without a worker nobody knows which of many models a wildcard stood for."""
    text = BASE.replace("[small, large]}\nmodels", '[small, large, "ft/*"]}\nmodels') + 'default_chain: ["ft/*", small]\n'
    assert [line.split(": ")[2] for line in warnings(text)] == ["wildcard_default_chain"]
