"""What tenants, keys and budgets mean once models and prices are known."""

from __future__ import annotations

import pytest

from router_extproc.config.load import parse_document
from router_extproc.registry.catalogue import load_catalogue
from router_extproc.registry.compile import compile_registry
from router_extproc.registry.lint import lint_registry

BASE = """\
providers:
  one: {base_url: https://one.example.com/v1, region: us, models: [small, large]}
  two: {base_url: https://two.example.com/v1, region: eu, models: [small, large]}
models:
  small: {tier: economy, context_window: 8000, capabilities: [], prices: {input: 1, output: 2}}
  large: {tier: premium, context_window: 128000, capabilities: [], prices: {input: 9, output: 9}}
"""
DIGEST = "sha256:0011223344556677:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


def warnings(text: str) -> list[str]:
    """Key, code and message of each warning."""
    document = parse_document(text)
    found = lint_registry(document, compile_registry(document.config, load_catalogue()))
    assert all(problem.severity == "warning" and problem.fix for problem in found)
    return [f"{problem.key}: {problem.code}: {problem.message}" for problem in found]


@pytest.mark.parametrize(
    "permissions",
    ["{}", "{models: [small]}", "{models: ['l*'], tiers: [premium]}", "{regions: [eu]}", "{max_output_tokens: 1}"],
)
def test_permissions_that_leave_a_model_are_good(permissions: str) -> None:
    """Nothing is said as long as one model may answer."""
    assert warnings(BASE + f"tenants: {{a: {{permissions: {permissions}}}}}\n") == []


@pytest.mark.parametrize("permissions", ["{models: []}", "{models: [small], tiers: [premium]}", "{tiers: [standard]}"])
def test_a_tenant_that_may_use_nothing(permissions: str) -> None:
    """Whoever calls for it would always be answered 403."""
    message = "the permissions of this tenant leave no model"
    text = BASE + f"tenants: {{a: {{permissions: {permissions}}}}}\n"
    expected = [f"tenants.a.permissions: nothing_allowed: {message}"]
    assert warnings(text) == expected
    # It is said once, not for each of its keys again.
    assert warnings(text + f"keys: {{k: {{tenant: a, digest: '{DIGEST}'}}}}\n") == expected


def test_a_key_that_may_use_nothing_of_what_its_tenant_may() -> None:
    """Tenant and key each leave a model, but not the same one."""
    text = BASE + (
        "tenants: {a: {permissions: {models: [small]}}}\n"
        f"keys: {{k: {{tenant: a, digest: '{DIGEST}', permissions: {{tiers: [premium]}}}}}}\n"
    )
    message = "the permissions of this key and of its tenant together leave no model"
    assert warnings(text) == [f"keys.k.permissions: nothing_allowed: {message}"]


def test_a_model_without_a_price_under_a_budget_in_money() -> None:
    """What such a model answers costs nothing there: an enforced amount in USD would not hold."""
    text = BASE.replace(", prices: {input: 9, output: 9}", "")
    unpriced = (
        "models.large: unpriced_model: no price is known for `large`: `cheap` tries it last, and its cost is not reported"
    )
    message = "`large` has no price: what it answers is not counted here"
    assert warnings(text + "budgets: {a: {tokens: 1}, b: {usd: 1, mode: observe}}\n") == [unpriced]
    assert warnings(text + "budgets: {a: {usd: 1}, b: {usd: 1}}\n") == [
        unpriced,
        f"budgets.a.usd: unpriced_under_budget: {message}",
    ]


@pytest.mark.parametrize("name", ["whisper-1", "tts-1-hd", "gpt-4o-mini-transcribe", "dall-e-3", "gpt-image-1"])
def test_a_model_without_a_price_by_the_piece_under_a_budget(name: str) -> None:
    """Tokens do not say what sound or a picture costs: whoever falls under the budget is refused there."""
    text = BASE.replace("models: [small, large]}", f"models: [small, large, {name}]}}", 1)
    message = f"`{name}` has no price by the piece: it is refused to whoever falls under this budget"
    for unit in ("usd", "tokens"):
        assert f"budgets.a.{unit}: no_price_by_piece: {message}" in warnings(text + f"budgets: {{a: {{{unit}: 1}}}}\n")
    for harmless in ("{requests: 1}", "{usd: 1, mode: observe}", "{usd: 1, at_cap: allow_and_flag}"):
        assert not any("no_price_by_piece" in one for one in warnings(text + f"budgets: {{a: {harmless}}}\n"))
    priced = text.replace(f", {name}", "") + f"  {name}: {{deployments: [{{provider: one}}], prices: {{request: 0.1}}}}\n"
    assert not any("no_price" in one or "unpriced" in one for one in warnings(priced + "budgets: {a: {usd: 1}}\n"))


def test_a_wildcard_without_a_price_under_a_budget_in_money() -> None:
    """What its models cost stands in a catalogue under names that nobody knows before: without a price nothing is counted."""
    wild = BASE.replace("models: [small, large]}", "models: [small, large, 'gpt-*']}", 1)
    message = "`gpt-*` has no price: what it answers is not counted here"
    assert f"budgets.a.usd: unpriced_under_budget: {message}" in warnings(wild + "budgets: {a: {usd: 1}}\n")
    assert not any("unpriced_under_budget" in one for one in warnings(wild + "budgets: {a: {tokens: 1}}\n"))
    priced = wild + "  'gpt-*': {deployments: [{provider: one}], prices: {input: 9, output: 9}}\n"
    assert not any("unpriced" in one for one in warnings(priced.replace(", 'gpt-*'", "") + "budgets: {a: {usd: 1}}\n"))


def test_a_model_without_a_price_under_the_budget_of_its_provider() -> None:
    """A provider's own amount would not hold either; that of another provider has nothing to do with it."""
    text = BASE.replace(", prices: {input: 9, output: 9}", "").replace("region: us, models: [small, large]", "models: [small]")
    message = "`large` has no price: what it answers is not counted here"
    there = text.replace("region: eu,", "budget: {usd: 5},")
    assert f"providers.two.budget.usd: unpriced_under_budget: {message}" in warnings(there)
    elsewhere = text.replace("providers:\n  one: {", "providers:\n  one: {budget: {usd: 5}, ")
    assert not any("unpriced_under_budget" in one for one in warnings(elsewhere))
