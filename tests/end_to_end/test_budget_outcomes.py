"""Which budget did what: counted by its name, and named in both logs for each request that it refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from router_extproc.limits.identity import digest_of
from tests.end_to_end.running import Instance, Simulators, until

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("healed")]


def secret(name: str) -> str:
    return f"sk-router-{name}.not-so-secret-canary"


def key(name: str, more: str = "") -> str:
    return f'  {name}: {{tenant: acme, digest: "{digest_of(secret(name), b"0123456789abcdef")}"{more}}}\n'


SIMULATED: dict[str, dict[str, Any]] = {"one": {}}
# An output token costs a micro-dollar from the small model and ten from the large one.
CONFIGURATION = (
    """
providers: {one: {base_url: "$one/v1"}}
models:
  small: {tier: economy, deployments: [{provider: one}], prices: {input: 0, output: 1}, output_limit: 1000}
  large: {tier: premium, deployments: [{provider: one}], prices: {input: 0, output: 10}, output_limit: 1000}
routes:
  two-a-day: {targets: [small], same_tier: false}
  watched: {targets: [small], same_tier: false}
  flagged: {targets: [small], same_tier: false}
  either: {targets: [large, small], same_tier: false}
budgets:
  pair: {requests: 2, window: month, match: {route: two-a-day}}
  shadow: {requests: 1, window: month, match: {route: watched}, mode: observe}
  soft: {requests: 1, window: month, match: {route: flagged}, at_cap: allow_and_flag, warn_at: [1]}
  purse: {usd: 0.005, window: month, match: {route: either}, downgrade_at: 0.5}
  wide: {requests: 1000000, window: month}
auth: {mode: keys}
tenants: {acme: {}}
keys:
"""
    + key("open")
    + key("rare", ", budgets: {pace: {requests: 1, window: month}}")
    + key("seldom", ", budgets: {pace: {requests: 1, window: month}}")
)


def ask(instance: Instance, model: str, name: str = "open", **body: Any) -> httpx.Response:
    return instance.ask(model, headers={"authorization": f"Bearer {secret(name)}"}, **({"max_tokens": 10} | body))


def outcomes(instance: Instance) -> dict[tuple[str, str], float]:
    text = instance.admin.get(f"{instance.admin_url}/metrics").text
    found = [family for family in text_string_to_metric_families(text) if family.name == "router_budget_outcomes"]
    return {(one.labels["budget"], one.labels["outcome"]): one.value for family in found for one in family.samples}


def counted(instance: Instance, holds: Callable[[dict[tuple[str, str], float]], bool]) -> dict[tuple[str, str], float]:
    """The figures once they hold; workers write theirs once a second."""
    found: dict[tuple[str, str], float] = until(lambda: next((one for one in [outcomes(instance)] if holds(one)), None))
    return found


def test_a_refusing_budget_is_counted_and_named_in_the_logs(instance: Instance) -> None:
    """Of two that the request falls under it is the one without room; requests that pass name none."""
    answers = [ask(instance, "two-a-day") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
    assert "pair" in answers[-1].json()["error"]["message"]
    passed, *_, refused = (answer.headers["x-router-decision"] for answer in answers)
    assert [instance.access_line(decision)["refused_by"] for decision in (passed, refused)] == [None, "pair"]
    record = instance.decision(refused)
    assert (record["refused"], record["refused_by"], record["deployment"]) == ("rate_limit_exceeded", "pair", None)
    assert instance.decision(passed)["refused_by"] is None
    assert counted(instance, lambda found: found.get(("pair", "refused"), 0) >= 2)[("pair", "refused")] == 2


def test_budgets_that_let_pass_are_counted_by_what_they_made_of_it(instance: Instance, simulators: Simulators) -> None:
    """Watched, flagged and downgraded requests, and the alert of a threshold that was reached."""
    for route in ("watched", "flagged"):
        assert [ask(instance, route).status_code for _ in range(3)] == [200] * 3
    # As long as it may be: more than half of the purse is gone, whether that is settled already or only set aside.
    simulators.faults("one", tokens=300)
    models = [ask(instance, "either", max_tokens=300).headers["x-router-model"] for _ in range(2)]
    assert models == ["large", "small"]
    wanted = {("shadow", "observed"): 2, ("soft", "flagged"): 2, ("soft", "warned"): 1, ("purse", "downgraded"): 1}
    # Each worker tells its own once a second.
    found = counted(instance, lambda found: {pair: found.get(pair) for pair in wanted} == wanted)
    assert not [budget for budget, _ in found if budget == "wide"]


def test_the_budgets_of_all_keys_share_a_label_and_are_told_apart_in_the_log(instance: Instance) -> None:
    """A million keys are one label; whose budget it was says the log, by the key's id and never its secret."""
    decisions = []
    for name in ("rare", "seldom"):
        assert [ask(instance, "small", name).status_code for _ in range(2)] == [200, 429]
        decisions.append(ask(instance, "small", name).headers["x-router-decision"])
    lines = [instance.access_line(decision) for decision in decisions]
    assert [line["refused_by"] for line in lines] == ["key:rare:pace", "key:seldom:pace"]
    assert "canary" not in json.dumps(lines)
    found = counted(instance, lambda found: found.get(("key", "refused"), 0) >= 4)
    assert found["key", "refused"] == 4
    assert not [budget for budget, _ in found if budget.startswith("key:")]
