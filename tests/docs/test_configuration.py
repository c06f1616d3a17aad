"""docs/configuration.md has every key of router.yaml, with its default, and its examples are good."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import pytest
import yaml

from router_extproc.config.load import parse_config
from router_extproc.observer.options import Cooling
from router_extproc.registry.catalogue import known_providers, load_catalogue, provider_at
from router_extproc.registry.compile import DEFAULT_ROUTES, compile_registry
from tests.docs.documents import Block, blocks, names, sections

DOCUMENT = "docs/configuration.md"
SCHEMA: dict[str, Any] = json.loads(
    resources.files("router_extproc.config").joinpath("data/router.schema.json").read_text(encoding="utf-8")
)
TOP = "router.yaml"
# The heading under which each part of the schema is described.
HEADINGS = {
    TOP: "How the file is read",
    "Admin": "admin",
    "Alerts": "alerts",
    "Analysis": "analysis",
    "Auth": "auth",
    "Budget": "budgets.NAME",
    "CauseChains": "plans.after",
    "Check": "Check",
    "Claims": "auth.jwt.claims",
    "Cooling": "cooling",
    "Credential": "providers.NAME.credentials[]",
    "DecisionLog": "decision_log",
    "Defaults": "defaults",
    "Deployment": "models.NAME.deployments[]",
    "Digest": "keys.ID.digests[]",
    "EnvoyOptions": "envoy",
    "Jwt": "auth.jwt",
    "Key": "keys.ID",
    "Keywords": "rules[].when.keywords",
    "Limits": "limits",
    "Listener": "listener",
    "LoopGuard": "loop_guard",
    "Mesh": "auth.mesh",
    "Model": "models.NAME",
    "Outlier": "providers.NAME.outlier",
    "Permissions": "Permissions",
    "Plan": "Plans",
    "Probability": "rules[].when.needs_strong",
    "Prices": "models.NAME.prices",
    "Provider": "providers.NAME",
    "ProviderBudget": "providers.NAME.budget",
    "ProviderLimits": "providers.NAME.limits",
    "Raise": "budgets.NAME.raises[]",
    "Range": "rules[].when.prompt_tokens",
    "Redis": "store.redis",
    "Retry": "Retry",
    "RiskFloor": "analysis.risk_floor",
    "Route": "routes.NAME",
    "Rule": "rules[]",
    "Secret": "Secrets",
    "SemanticRoute": "analysis.semantic_routes.NAME",
    "Sentinel": "store.redis.sentinel",
    "Store": "store",
    "Target": "Targets",
    "Tenant": "tenants.NAME",
    "Timeouts": "Timeouts",
    "Tls": "listener.tls",
    "Waiting": "waiting",
    "Webhook": "alerts.webhook",
    "When": "rules[].when",
    "Window": "Windows",
    "Workers": "workers",
}


def part(name: str) -> dict[str, Any]:
    """One part of the schema; of what may also be plain text, the mapping."""
    found: dict[str, Any] = SCHEMA if name == TOP else SCHEMA["$defs"][name]
    return found["anyOf"][1] if "anyOf" in found else found


def properties(name: str) -> dict[str, dict[str, Any]]:
    """The keys of a part; a route's are those that it has beside its plan's."""
    found: dict[str, dict[str, Any]] = part(name)["properties"]
    shared = part("Plan")["properties"] if name == "Route" else {}
    return {key: value for key, value in found.items() if key not in shared}


def described(name: str) -> dict[str, tuple[str, ...]]:
    """The rows of the part's tables, by key."""
    rows = sections(DOCUMENT)[HEADINGS[name]].rows
    return {names(row[0])[0]: row for row in rows if len(row) == 3 and names(row[0])}


def test_every_part_of_the_schema_has_its_place() -> None:
    """A new section of the file cannot appear without a heading in the document."""
    assert set(HEADINGS) == {TOP, *SCHEMA["$defs"]}
    assert set(HEADINGS.values()) <= set(sections(DOCUMENT))


@pytest.mark.parametrize("name", HEADINGS)
def test_every_key_is_described_where_it_belongs(name: str) -> None:
    """Each key has a row in its own section's table, and no row describes a key that does not exist."""
    assert set(described(name)) == set(properties(name))


@pytest.mark.parametrize("name", HEADINGS)
def test_every_default_is_the_schema_s(name: str) -> None:
    """What the document calls the default is what the schema has, and only required keys are called required."""
    required = part(name).get("required", [])
    for key, value in properties(name).items():
        written, default = described(name)[key][1], value.get("default")
        assert (written == "required") == (key in required), key
        if isinstance(default, bool):
            assert names(written) == [str(default).lower()], key
        elif isinstance(default, str | int | float):
            assert names(written) == [f"{default:g}" if isinstance(default, float) else str(default)], key


def test_the_durations_of_the_schema_are_told_in_the_same_words() -> None:
    """The schema writes 60s as 1m; this document does the same, or the comparison above would be worth nothing."""
    assert part("Cooling")["properties"]["time"]["default"] == "5s"
    assert Cooling().time_ms == 5_000
    assert described("Cooling")["time"][1] == "`5s`"


@pytest.mark.parametrize("strange", ["CapabilityName", "TaskName", "StrategyName", "TierName"])
def test_every_word_of_a_closed_list_is_told(strange: str) -> None:
    """A capability, task, strategy or tier that the schema accepts stands in the document."""
    key, words = {
        "CapabilityName": ("capabilities", part("Model")["properties"]["capabilities"]["anyOf"][0]["items"]["enum"]),
        "TaskName": ("strengths", part("Model")["properties"]["strengths"]["anyOf"][0]["items"]["anyOf"][0]["enum"]),
        "StrategyName": ("strategy", part("Plan")["properties"]["strategy"]["anyOf"][0]["enum"]),
        "TierName": ("tier", part("Model")["properties"]["tier"]["anyOf"][0]["enum"]),
    }[strange]
    row = described("Plan" if key == "strategy" else "Model")[key]
    assert set(words) <= set(names(row[2]))


def test_every_variable_that_starts_the_router_is_told() -> None:
    """Whoever has a provider's key finds the variable's name, and no variable is told that does nothing."""
    rows = sections(DOCUMENT)["Starting without a file"].rows
    told = {variable for row in rows for variable in names(row[0])}
    assert told == {variable for provider in known_providers() for variable in provider.key_variables}


def test_every_default_route_is_told() -> None:
    """The routes that every configuration has stand in one table."""
    told = {name for row in sections(DOCUMENT)["Routes that every file has"].rows for name in names(row[0])}
    assert told == set(DEFAULT_ROUTES)


def whole(block: Block) -> str:
    """An indented block is one more provider; any other is a file."""
    return f"providers:\n{block.text}" if block.text.startswith(" ") else block.text


@pytest.mark.parametrize("block", blocks("yaml"), ids=lambda block: f"{block.document}:{block.line}")
def test_every_example_of_a_file_can_be_used(block: Block) -> None:
    """A reader who copies an example gets a configuration that loads, whose well-known models have prices."""
    text = whole(block)
    assert isinstance(yaml.safe_load(text), dict)
    registry = compile_registry(parse_config(text), load_catalogue())
    known = {deployment.provider for deployment in registry.deployments()}
    hosts = {name: provider.base_url for name, provider in parse_config(text).providers.items() if name in known}
    for model in registry.models.values():
        if any(provider_at(hosts[deployment.provider]) for deployment in model.deployments):
            assert model.prices is not None, model.name
