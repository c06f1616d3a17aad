"""From the file to the registry."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_extproc.config.load import parse_config
from router_extproc.registry.catalogue import Catalogue, CatalogueFile, load_catalogue
from router_extproc.registry.compile import compile_registry
from router_extproc.registry.snapshot import (
    AnalysisSettings,
    Bounds,
    Plan,
    PriceTier,
    Registry,
    SemanticRoute,
    Target,
    Tier,
    encode_registry,
    read_registry,
)

CATALOGUE = Catalogue(
    msgspec.convert(
        {
            "built": "2026-11-21",
            "source": "genai-prices 0.2.3",
            "models": {
                "openai/small": {"input": 0.15, "output": 0.6, "tier": "economy", "quality": 0.4, "context_window": 128_000},
                "openai/large": {
                    "input": 2.5, "cached_input": 1.25, "output": 10, "tier": "premium", "quality": 0.8,
                    "capabilities": ["vision", "tools"], "strengths": ["code"], "output_limit": 16_384,
                    "tiers": [{"above_tokens": 100_000, "input": 5, "output": 20}],
                },
                "openai/other": {"input": 5, "output": 20, "tier": "premium", "quality": 0.7},
                "openai/vectors": {"input": 0.02, "capabilities": ["embeddings"]},
                "openai/voice": {"capabilities": ["speech"]},
            },
        },
        CatalogueFile,
    )
)  # fmt: skip

PROVIDERS = """\
providers:
  openai:
    base_url: https://api.openai.com/v1
    models: [small, large]
"""


def compiled(text: str) -> Registry:
    return compile_registry(parse_config(text), CATALOGUE)


def names(targets: tuple[Target, ...]) -> list[str]:
    return [target.name for target in targets]


def test_deployments_that_are_never_asked_for_usage() -> None:
    """Those of each provider that refuses it, with all its keys; by default there are none."""
    assert compiled(PROVIDERS).never_asked_for_usage == frozenset()
    registry = compiled(
        PROVIDERS + "  old:\n    base_url: http://127.0.0.1:8000/v1\n    include_stream_usage: false\n"
        "    credentials: [{env: A}, {env: B}]\n    models: [small]\n"
        "models:\n  large:\n    deployments: [{provider: old, name: spare}]\n"
    )
    assert registry.never_asked_for_usage == {"old/small@1", "old/small@2", "spare@1", "spare@2"}
    assert msgspec.json.decode(encode_registry(registry), type=Registry) == registry


def test_models_are_filled_from_the_catalogue() -> None:
    """What the file leaves out comes from the catalogue, and prices say from where and of which day."""
    large = compiled(PROVIDERS).models["large"]
    assert (large.tier, large.quality, large.output_limit) == (Tier.PREMIUM, 0.8, 16_384)
    assert large.capabilities == {"vision", "tools"}
    assert large.strengths == ("code",)
    assert large.prices is not None
    assert (large.prices.input, large.prices.cached_input, large.prices.output) == (2.5, 1.25, 10)
    assert large.prices.source == "genai-prices 0.2.3, 2026-11-21"
    assert large.prices.tiers == (PriceTier(above_tokens=100_000, input=5, output=20),)


def test_the_file_wins_over_the_catalogue() -> None:
    """What the file says about a model is never overridden; the rest is still filled in."""
    text = PROVIDERS + "models: {large: {tier: standard, quality: 0, capabilities: [], prices: {input: 0, output: 0}}}\n"
    large = compiled(text).models["large"]
    assert (large.tier, large.quality, large.capabilities) == (Tier.STANDARD, 0.0, frozenset())
    assert large.prices is not None
    assert (large.prices.input, large.prices.source) == (0, "router.yaml")
    assert large.output_limit == 16_384


def test_an_unknown_model_gets_the_middle() -> None:
    """A model that nobody describes is of the standard tier, of middling quality, and nothing is held against it."""
    model = compiled(PROVIDERS.replace("small", "mine")).models["mine"]
    assert (model.tier, model.quality) == (Tier.STANDARD, 0.5)
    assert (model.capabilities, model.context_window, model.prices) == (None, None, None)


def test_the_catalogue_is_asked_by_the_providers_address_and_its_own_model_id() -> None:
    """A provider's name in the file is the user's choice, and so is the model's: endpoint and provider's id are facts."""
    text = """\
providers: {mine: {base_url: "https://api.openai.com/v1"}}
models: {ours: {deployments: [{provider: mine, model: gpt-4o}]}}
"""
    ours = compile_registry(parse_config(text), load_catalogue()).models["ours"]
    assert ours.prices is not None
    assert ours.context_window == 128_000


def test_deployments_of_both_notations_belong_to_one_model() -> None:
    """A model's own deployments come first, then those of providers that list it; keys multiply weights."""
    registry = compiled("""\
providers:
  one: {base_url: https://one.example.com/v1, region: eu, models: [large]}
  two: {base_url: https://two.example.com/v1, credentials: [{env: A, weight: 2}, {name: b, env: B}]}
models: {large: {deployments: [{provider: two, model: l-1, weight: 3}]}}
""")
    assert [(each.name, each.provider_model, each.weight, each.region) for each in registry.models["large"].deployments] == [
        ("two/large@1", "l-1", 6.0, None),
        ("two/large@b", "l-1", 3.0, None),
        ("one/large", "large", 1.0, "eu"),
    ]


def test_every_configuration_has_the_default_routes() -> None:
    """auto, fast, cheap and best choose among all models; each model's own name is a route that is never replaced."""
    registry = compiled(PROVIDERS)
    assert list(registry.routes) == ["auto", "fast", "cheap", "best", "small", "large"]
    assert [registry.routes[name].plan.strategy for name in ("auto", "fast", "cheap", "best")] == [
        "auto",
        "fast",
        "cheap",
        "best",
    ]
    assert names(registry.routes["fast"].plan.targets) == ["small", "large"]
    own = registry.routes["large"]
    assert (own.named_model, own.allow_cross_model, own.plan) == (
        "large",
        False,
        Plan(targets=(Target("model", "large"),), same_tier=False),
    )


def test_models_that_make_no_text_are_no_candidates() -> None:
    """Embedding and speech models serve their own names and paths, and nothing that leaves the choice to the router."""
    registry = compiled(PROVIDERS.replace("[small, large]", "[vectors, voice, small, text-embedding-mine]"))
    assert all(names(registry.routes[name].plan.targets) == ["small"] for name in ("auto", "fast", "cheap", "best"))
    assert registry.default_chain == ("openai/small",)
    for name in ("vectors", "voice", "text-embedding-mine"):
        (deployment,) = registry.models[name].deployments
        assert "/v1/embeddings" in deployment.paths
        assert not any(path.startswith(("/v1/chat", "/v1/responses")) for path in deployment.paths)


@pytest.mark.parametrize(
    ("plan", "strategy", "quality"),
    [
        ("{}", "auto", None),
        ("{quality: 0.9}", "auto", 0.9),
        ("{targets: [small]}", "ordered", None),
        ("{targets: [small, large], strategy: auto, quality: 0.5}", "auto", 0.5),
        ("{strategy: best}", "best", None),
    ],
)
def test_auto_looks_at_the_request_unless_the_file_says_otherwise(plan: str, strategy: str, quality: float | None) -> None:
    """No rule is added for auto: its strategy is; a plan of the file's own replaces that, and so do targets."""
    registry = compiled(PROVIDERS + f"routes: {{auto: {plan}}}\n")
    assert registry.rules == ()
    assert (registry.routes["auto"].plan.strategy, registry.routes["auto"].plan.quality) == (strategy, quality)


def test_analysis_is_compiled_with_its_defaults() -> None:
    """Every risky domain has a floor unless the file takes it away; tasks and semantic routes keep their examples."""
    assert compiled(PROVIDERS).analysis == AnalysisSettings()
    assert set(AnalysisSettings().risk_floor.values()) == {Tier.PREMIUM}
    assert AnalysisSettings().reasoning_tier == Tier.STANDARD
    found = compiled(
        PROVIDERS
        + """\
analysis:
  deadline: 5ms
  encoder: minilm
  reasoning_tier: economy
  risk_floor: {legal: none, financial: standard}
  tasks: {sql: [a, b, c, d, e]}
  semantic_routes: {refunds: {utterances: [money back], description: refunds, threshold: 0.5}, hr: {description: leave}}
"""
    ).analysis
    assert (found.deadline_ms, found.encoder, found.tasks) == (5, "minilm", {"sql": ("a", "b", "c", "d", "e")})
    assert found.reasoning_tier == Tier.ECONOMY
    assert found.risk_floor == {
        "medical": Tier.PREMIUM,
        "financial": Tier.STANDARD,
        "confidential": Tier.PREMIUM,
        "self_harm": Tier.PREMIUM,
    }
    assert found.semantic_routes == {
        "refunds": SemanticRoute(("money back",), "refunds", 0.5),
        "hr": SemanticRoute((), "leave", None),
    }


def test_rules_apply_to_auto_unless_they_say_otherwise() -> None:
    """A rule's conditions are carried over as written; without routes it is meant for auto."""
    (rule,) = compiled(
        PROVIDERS
        + """\
rules:
  - name: all
    when:
      {headers: {x-team: "a*"}, path: /v1/chat/*, prompt_tokens: {at_most: 9}, tools: false, stream: true, task: code,
       risk: [medical, legal], language: fr, complexity: {at_least: 4}, needs_strong: {at_most: 0.5}, turn: {at_least: 2},
       injection: {at_least: 0.9}, keywords: [a b, c], semantic_route: refunds}
    then: {strategy: fast, targets: [small, {tier: premium}], min_tier: economy, last_resort: [large]}
analysis: {semantic_routes: {refunds: {description: money back}}}
"""
    ).rules
    assert (rule.when.routes, rule.when.headers, rule.when.path) == (("auto",), (("x-team", "a*"),), "/v1/chat/*")
    assert rule.when.prompt_tokens == Bounds(None, 9)
    assert (rule.when.code, rule.when.tools, rule.when.images, rule.when.stream) == (None, False, None, True)
    assert (rule.when.tasks, rule.when.risks, rule.when.languages) == (("code",), ("medical", "legal"), ("fr",))
    assert (rule.when.complexity, rule.when.needs_strong, rule.when.turn) == (Bounds(4), Bounds(None, 0.5), Bounds(2))
    assert (rule.when.injection, rule.when.any_keyword, rule.when.semantic_routes) == (Bounds(0.9), ("a b", "c"), ("refunds",))
    assert rule.plan == Plan(
        strategy="fast",
        targets=(Target("model", "small"), Target("tier", "premium")),
        min_tier=Tier.ECONOMY,
        same_tier=False,
        last_resort=(Target("model", "large"),),
    )


def test_a_rule_never_undercuts_a_routes_floor() -> None:
    """A rule replaces the plan of a route but not its minimum tier: there the higher of the two holds."""
    text = """\
routes: {auto: {min_tier: standard}, team: {min_tier: premium, targets: [large]}, "eu/*": {targets: [large]}}
rules:
  - {name: all, when: {route: [auto, "t*", best], code: true}, then: {targets: [small, large]}}
  - {name: weak, when: {route: team, tools: true}, then: {targets: [small], min_tier: economy}}
  - {name: strong, when: {images: true}, then: {targets: [large], min_tier: premium}}
"""
    rules = compiled(PROVIDERS + text).rules
    assert [(rule.name, rule.when.routes, rule.plan.min_tier) for rule in rules] == [
        ("all", ("auto",), Tier.STANDARD),
        ("all", ("team",), Tier.PREMIUM),
        ("all", ("t*", "best"), None),
        ("weak", ("team",), Tier.PREMIUM),
        ("strong", ("auto",), Tier.PREMIUM),
    ]
    assert {rule.when.code for rule in rules[:3]} == {True}


def test_both_floors_of_a_route_hold_in_its_rules() -> None:
    """Of the minimum tier and the minimum quality each is the higher one, a rule's own where the route has none."""
    text = """\
routes: {auto: {min_quality: 0.7}, team: {min_quality: 0.6, min_tier: premium, targets: [large]}, free: {targets: [small]}}
rules:
  - {name: one, when: {route: [auto, team, free]}, then: {targets: [large], min_tier: standard, min_quality: 0.65}}
  - {name: two, when: {route: [auto, team, free]}, then: {targets: [large]}}
"""
    assert [
        (rule.name, rule.when.routes, rule.plan.min_tier, rule.plan.min_quality) for rule in compiled(PROVIDERS + text).rules
    ] == [
        ("one", ("auto",), Tier.STANDARD, 0.7),
        ("one", ("team",), Tier.PREMIUM, 0.65),
        ("one", ("free",), Tier.STANDARD, 0.65),
        ("two", ("auto",), None, 0.7),
        ("two", ("team",), Tier.PREMIUM, 0.6),
        ("two", ("free",), None, None),
    ]


def test_a_target_may_be_served_by_a_wildcard() -> None:
    """A name that only a wildcard matches can be a target; Envoy alone cannot tell it from others, so not its chain."""
    registry = compiled(PROVIDERS.replace("small, large", 'small, "ft/*"') + "routes: {auto: {targets: [ft/one, small]}}\n")
    assert names(registry.routes["auto"].plan.targets) == ["ft/one", "small"]
    assert registry.default_chain == ("openai/small",)


@pytest.mark.parametrize(
    ("plan", "same_tier"),
    [
        ("{targets: [small]}", True),
        ("{targets: [small, large]}", False),
        ("{targets: [small, large], same_tier: true}", True),
        ("{targets: [small], same_tier: false}", False),
        ("{min_tier: economy}", True),
    ],
)
def test_a_single_target_falls_back_within_its_tier(plan: str, same_tier: bool) -> None:  # noqa: FBT001 - a table
    """Who names fewer than two targets gets their tier as fallback; who names more has said where to go."""
    assert compiled(PROVIDERS + f"routes: {{team: {plan}}}\n").routes["team"].plan.same_tier is same_tier


def test_strategies_of_routes_without_one() -> None:
    """Targets are tried as written, except where the route's name promises an order; without targets the request decides."""
    routes = compiled(PROVIDERS + "routes: {team: {targets: [small, large]}, fast: {targets: [small]}, any: {}}\n").routes
    assert [routes[name].plan.strategy for name in ("team", "fast", "any")] == ["ordered", "fast", "auto"]


def test_a_deployment_target_means_all_its_keys() -> None:
    """Naming a deployment that has several keys names each of them, and they share the target's weight."""
    text = PROVIDERS.replace("    models", "    credentials: [{env: A}, {env: B}]\n    models")
    text += "routes: {team: {targets: [{deployment: openai/small, weight: 3}, {deployment: openai/large@2, weight: 1}]}}\n"
    assert compiled(text).routes["team"].plan.targets == (
        Target("deployment", "openai/small@1", 1.5),
        Target("deployment", "openai/small@2", 1.5),
        Target("deployment", "openai/large@2", 1),
    )


def test_causes_have_chains_of_their_own() -> None:
    """Only causes that the file answers are in the plan."""
    plan = compiled(PROVIDERS + "routes: {auto: {targets: [small], after: {context_length: [large]}}}\n").routes["auto"].plan
    assert plan.after == {"context_length": (Target("model", "large"),)}


def test_limits_are_complete() -> None:
    """Each route's limits are its own where written, else the file's defaults, else ours."""
    registry = compiled(
        PROVIDERS
        + """\
defaults: {timeouts: {deadline: 90s, first_token: 3s}, retry: {max_attempts: 2}}
routes: {auto: {timeouts: {deadline: 5s}, check: {answer: true}}}
"""
    )
    auto, fast = registry.routes["auto"], registry.routes["fast"]
    assert (auto.deadline_ms, auto.first_token_timeout_ms, auto.max_attempts, auto.check_answer) == (5_000, 3_000, 2, True)
    assert (fast.deadline_ms, fast.first_token_timeout_ms, fast.max_attempts, fast.check_answer) == (90_000, 3_000, 2, False)
    assert (fast.attempt_timeout_ms, fast.stream_idle_ms, fast.retry_within_ms) == (None, 300_000, 60_000)


def test_a_named_model_may_opt_into_others() -> None:
    """``allow_cross_model`` keeps the written targets; the model is still the named one."""
    registry = compiled(PROVIDERS + "routes: {small: {allow_cross_model: true, targets: [small, large]}}\n")
    route = registry.routes["small"]
    assert (route.named_model, route.allow_cross_model, names(route.plan.targets)) == ("small", True, ["small", "large"])


def test_passthrough_routes_are_marked() -> None:
    """A passthrough route keeps its targets and says that it looks at nothing."""
    assert compiled(PROVIDERS + "routes: {raw: {mode: passthrough, targets: [small]}}\n").routes["raw"].passthrough


def test_aliases_are_followed_to_their_end() -> None:
    """An alias of an alias leads straight to the model or route."""
    assert compiled(PROVIDERS + "aliases: {a: b, b: large, c: auto}\n").aliases == {"a": "large", "b": "large", "c": "auto"}


def test_wildcards_are_models_and_routes_but_never_chosen() -> None:
    """A wildcard serves the names it matches; nothing else is sent to it, and its cluster's name has no ``*``."""
    registry = compiled(PROVIDERS.replace("[small, large]", '["*", "ft/*", small]'))
    assert [(name, model.deployments[0].name) for name, model in registry.models.items()] == [
        ("*", "openai/any"),
        ("ft/*", "openai/ft/any"),
        ("small", "openai/small"),
    ]
    assert registry.routes["ft/*"].named_model == "ft/*"
    assert names(registry.routes["auto"].plan.targets) == ["small"]
    assert registry.default_chain == ("openai/small",)


def test_the_snapshot_is_read_back_equal(tmp_path: object) -> None:
    """What workers read is what was compiled."""
    registry = compiled(PROVIDERS)
    file = tmp_path / "snapshot.json"  # type: ignore[operator]
    file.write_bytes(encode_registry(registry))
    assert read_registry(file) == registry


def test_the_revision_is_a_hash_of_the_content() -> None:
    """Equal configurations have equal revisions, whatever their comments; any change of meaning gives another."""
    revision = compiled(PROVIDERS).revision
    assert re.fullmatch(r"[0-9a-f]{16}", revision)
    assert compiled("# a comment\n" + PROVIDERS).revision == revision
    assert compiled(PROVIDERS + "limits: {max_body_bytes: 1MiB}\n").revision != revision
    assert compiled(PROVIDERS.replace("small, large", "large, small")).revision != revision


def test_the_revision_is_the_same_in_every_process() -> None:
    """Two instances with one file report one revision, whatever order their interpreters give to sets."""
    program = (
        "from router_extproc.config.load import parse_config as parse\n"
        "from router_extproc.registry.catalogue import load_catalogue\n"
        "from router_extproc.registry.compile import compile_registry\n"
        "text = 'providers: {openai: {base_url: \"https://api.openai.com/v1\", models: [gpt-5.4-mini]}}'\n"
        "registry = compile_registry(parse(text), load_catalogue())\n"
        "assert len(registry.models['gpt-5.4-mini'].capabilities) > 3\n"
        "print(registry.revision)\n"
    )
    revisions = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(revisions) == 1


@st.composite
def configurations(draw: st.DrawFn) -> str:
    """Valid files: some providers with some models and keys, a plan for auto, a rule, a default chain."""
    models = st.sampled_from(["small", "large", "other", "vectors", "mine", "wild/*"])
    count = draw(st.integers(1, 3))
    lines = ["providers:"]
    served: set[str] = set()
    for index in range(count):
        own = draw(st.lists(models, min_size=1, max_size=4, unique=True))
        served |= set(own)
        keys = ", ".join(f"{{env: KEY_{key}}}" for key in range(draw(st.integers(0, 3))))
        listed = ", ".join(f'"{name}"' for name in own)
        lines.append(f"  p{index}: {{base_url: 'https://p{index}.example.com/v1', credentials: [{keys}], models: [{listed}]}}")
    concrete = sorted(served - {"wild/*"})
    targets = [f"{{tier: {tier}}}" for tier in ("economy", "standard", "premium")] + concrete
    some = st.lists(st.sampled_from(targets), max_size=3).map(lambda chosen: f"[{', '.join(chosen)}]")
    strategy, floor = draw(st.sampled_from(["ordered", "cheap", "fast", "best"])), draw(st.sampled_from(["economy", "premium"]))
    lines.append(
        f"routes: {{auto: {{strategy: {strategy}, targets: {draw(some)}, min_tier: {floor}, last_resort: {draw(some)}}}}}"
    )
    lines.append(f"rules: [{{name: r, when: {{code: true}}, then: {{targets: {draw(some)}}}}}]")
    lines.append(f"default_chain: {draw(some)}")
    return "\n".join(lines) + "\n"


@given(configurations())
@settings(max_examples=150)
def test_whatever_compiles_leads_somewhere(text: str) -> None:
    """Every target exists, deployments have names of their own, the derived chain is short, strong and makes text."""
    registry = compiled(text)
    deployments = {deployment.name: deployment for deployment in registry.deployments()}
    assert len(deployments) == len(registry.deployments())
    plans = [route.plan for route in registry.routes.values()] + [rule.plan for rule in registry.rules]
    for plan in plans:
        for target in (*plan.targets, *plan.last_resort):
            known: Mapping[str, object] = {"model": registry.models, "deployment": deployments}.get(target.kind, {})
            assert target.kind == "tier" or target.name in known
    assert len(set(registry.default_chain)) == len(registry.default_chain)
    assert set(registry.default_chain) <= deployments.keys()
    if "default_chain: []" in text:
        models = [registry.models[deployments[name].model] for name in registry.default_chain]
        floor = registry.routes["auto"].plan.min_tier
        assert len(models) <= 4
        assert all(floor is not None and model.tier >= floor for model in models)
