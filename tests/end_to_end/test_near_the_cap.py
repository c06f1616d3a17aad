"""On the way to a cap, to the micro-dollar: warned at 80 %, a cheaper model at 90 %, shortened, refused and told until when."""

from __future__ import annotations

import base64
import json
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import openai
import pytest

from tests.end_to_end.running import CHAT, HELLO, Instance, Simulators, until
from tests.end_to_end.spending import micro_usd, quiet_budget, shown_budget

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("healed")]

SIMULATED: dict[str, dict[str, Any]] = {"one": {}}
# Prompts are free; a token of an answer costs ten micro-dollars from the strong model and one from the weak one.
CONFIGURATION = """
workers: {count: 1}
analysis: {deadline: 5s}
providers: {one: {base_url: $one/v1}}
models:
  weak: {tier: economy, capabilities: [], deployments: [{provider: one}], prices: {input: 0, output: 1}, output_limit: 5000}
  strong: {tier: premium, capabilities: [], deployments: [{provider: one}], prices: {input: 0, output: 10}, output_limit: 5000}
routes:
  usual: {targets: [strong, weak], same_tier: false}
  safe: {targets: [strong, weak], same_tier: false, safety_critical: true}
  exact: {targets: [weak]}
  soft: {targets: [weak]}
  watched: {targets: [weak]}
  enforced: {targets: [weak]}
  assuming: {targets: [weak]}
  lowered: {targets: [weak]}
  day-in-berlin: {targets: [weak]}
  last-hour: {targets: [weak]}
budgets:
  usual-month: {usd: 0.010, window: month, match: {route: usual}}
  safe-month: {usd: 0.010, window: month, match: {route: safe}}
  auto-month: {usd: 0.100, window: month, match: {route: auto}, downgrade_at: 0.5}
  exact-month: {usd: 1, window: month, match: {route: exact}}
  soft-month: {usd: 0.000100, window: month, match: {route: soft}, at_cap: allow_and_flag}
  watching: {usd: 0.0007, window: month, match: {route: watched}, mode: observe}
  enforcing: {usd: 0.0007, window: month, match: {route: enforced}}
  assumed: {usd: 0.002, window: month, match: {route: assuming}, assume_max_output_tokens: 200}
  lowering: {usd: 0.001, window: month, match: {route: lowered}}
  berlin: {usd: 0.000100, window: {calendar: day, timezone: Europe/Berlin}, match: {route: day-in-berlin}}
  rolling: {usd: 0.000100, window: {rolling: 1h}, match: {route: last-hour}}
"""
MEDICAL = "My mother takes warfarin and has chest pain. Which dose of aspirin is safe for her, and what are the side effects?"
BERLIN = ZoneInfo("Europe/Berlin")
HARD = "Prove that every finite group of prime order is cyclic, step by step, and discuss where the proof needs the axioms."


def spend(instance: Instance, simulators: Simulators, route: str, tokens: int, **body: Any) -> httpx.Response:
    """A request whose answer has exactly so many tokens, and that asks for no more unless told otherwise."""
    simulators.faults("one", tokens=tokens)
    return instance.ask(route, **{"max_tokens": tokens} | body)


def stay_within_a_day(zone: ZoneInfo, seconds: int = 60) -> None:
    """Waits for the next day where this one ends before a test would have."""
    now = datetime.now(zone)
    # By the clock on the wall, which does not change at that hour.
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    left = midnight.timestamp() - now.timestamp()
    if left < seconds:
        time.sleep(left + 1)


def alerts(instance: Instance, budget: str) -> list[float]:
    shown = instance.admin.get(f"{instance.admin_url}/alerts").json()["alerts"]
    return [each["threshold"] for each in shown if each["budget"] == budget]


def test_the_whole_way_to_a_cap(instance: Instance, simulators: Simulators) -> None:
    """Warned once from 80 % on, the usual model at 89.9 %, a cheaper one at exactly 90 %, and refused when nothing is left."""
    spend(instance, simulators, "usual", 799)
    assert micro_usd(quiet_budget(instance, "usual-month")["settled_usd"]) == 7_990
    assert alerts(instance, "usual-month") == []
    spend(instance, simulators, "usual", 100)
    assert micro_usd(quiet_budget(instance, "usual-month")["settled_usd"]) == 8_990
    last_usual = spend(instance, simulators, "usual", 1)
    assert last_usual.headers["x-router-model"] == "strong"
    assert last_usual.headers["x-router-reason"] == "ordered"
    assert last_usual.headers["x-router-budget-remaining"] == "0.001000"
    assert micro_usd(quiet_budget(instance, "usual-month")["settled_usd"]) == 9_000
    first_cheaper = spend(instance, simulators, "usual", 1)
    assert first_cheaper.headers["x-router-model"] == "weak"
    assert first_cheaper.headers["x-router-reason"] == "ordered+budget-downgrade:usual-month"
    assert first_cheaper.headers["x-router-budget-remaining"] == "0.000999"
    quiet_budget(instance, "usual-month")
    assert spend(instance, simulators, "usual", 999).headers["x-router-budget-remaining"] == "0.000000"
    assert micro_usd(quiet_budget(instance, "usual-month")["settled_usd"]) == 10_000
    until(lambda: alerts(instance, "usual-month"))
    assert alerts(instance, "usual-month") == [0.8]
    log = instance.state / "logs" / "observer.log"
    until(lambda: '"budget": "usual-month"' in log.read_text())
    assert sum('"budget": "usual-month"' in line for line in log.read_text().splitlines()) == 1
    until(lambda: metric(instance, "router_budget_alerts_total", 'budget="usual-month"') == 1)
    asked = simulators.asked()
    before = datetime.now(UTC)
    with instance.client(max_retries=3) as client, pytest.raises(openai.RateLimitError) as refused:
        client.chat.completions.create(model="usual", messages=HELLO, max_tokens=1)  # type: ignore[arg-type]
    assert simulators.asked() == asked
    assert (refused.value.code, refused.value.type) == ("budget_exceeded", "insufficient_quota")
    now = datetime.now(UTC)
    resets = (now.replace(day=1, hour=0, minute=0, second=0, microsecond=0) + timedelta(days=31)).replace(day=1)
    assert "'usual-month'" in refused.value.message
    assert f"{resets:%Y-%m-%dT%H:%M:%SZ}" in refused.value.message
    headers = refused.value.response.headers
    assert (resets - now).total_seconds() <= int(headers["retry-after"]) <= (resets - before).total_seconds() + 1
    assert headers["x-should-retry"] == "false"
    assert headers["x-router-reason"] == "budget_exceeded"


def test_a_safe_route_is_never_downgraded(instance: Instance, simulators: Simulators) -> None:
    """As near to its cap as the other one, it keeps its model until nothing is left; then it refuses."""
    spend(instance, simulators, "safe", 990)
    assert micro_usd(quiet_budget(instance, "safe-month")["settled_usd"]) == 9_900
    answer = spend(instance, simulators, "safe", 10)
    assert (answer.headers["x-router-model"], answer.headers["x-router-reason"]) == ("strong", "ordered")
    quiet_budget(instance, "safe-month")
    assert spend(instance, simulators, "safe", 1).status_code == 429


def test_a_risk_keeps_the_strong_model(instance: Instance, simulators: Simulators) -> None:
    """Beyond the share a hard question goes to the weak model, a medical one does not."""

    def ask(text: str) -> tuple[str, str]:
        answer = spend(instance, simulators, "auto", 10, messages=[{"role": "user", "content": text}])
        return answer.headers["x-router-model"], answer.headers["x-router-reason"]

    assert ask(HARD)[0] == "strong"
    spend(instance, simulators, "auto", 4_990, messages=[{"role": "user", "content": HARD}])
    assert micro_usd(quiet_budget(instance, "auto-month")["settled_usd"]) == 50_000
    model, reason = ask(HARD)
    assert (model, reason.partition("+")[2]) == ("weak", "budget-downgrade:auto-month")
    assert ask(MEDICAL) == ("strong", "auto:premium:risk=medical")


def test_what_remains_is_told_to_the_micro_dollar(instance: Instance, simulators: Simulators) -> None:
    """Each answer says what was left once the most that it could cost was set aside, streams included."""
    left = 1_000_000
    for tokens, most in ((1, 1), (37, 1_000), (999, 999), (5, 64), (123, 124)):
        answer = spend(instance, simulators, "exact", tokens, max_tokens=most, stream=most == 64)
        assert micro_usd(answer.headers["x-router-budget-remaining"]) == left - most
        left -= tokens
        shown = quiet_budget(instance, "exact-month")
        assert micro_usd(shown["remaining_usd"]) == left
        assert micro_usd(shown["settled_usd"]) == 1_000_000 - left


def test_a_soft_budget_lets_pass_and_tells(instance: Instance, simulators: Simulators) -> None:
    """Beyond its cap every request is served and named, the alert is there, and all of it is counted."""
    answers = []
    for _ in range(4):
        answers.append(spend(instance, simulators, "soft", 60))
        quiet_budget(instance, "soft-month")
    assert [answer.status_code for answer in answers] == [200] * 4
    reasons = [answer.headers["x-router-reason"] for answer in answers]
    assert ["+over-budget:soft-month" in reason for reason in reasons] == [False, True, True, True]
    until(lambda: alerts(instance, "soft-month"))
    assert alerts(instance, "soft-month") == [0.8]
    assert micro_usd(shown_budget(instance, "soft-month")["settled_usd"]) == 240
    assert micro_usd(shown_budget(instance, "soft-month")["remaining_usd"]) == 0
    record = instance.decision(answers[-1].headers["x-router-decision"])
    assert "+over-budget:soft-month" in record["reason"]


def metric(instance: Instance, name: str, label: str) -> float:
    """The sum over all of a metric's series that have the label."""
    text = instance.admin.get(f"{instance.admin_url}/metrics").text
    found = re.findall(rf"^{name}\{{[^}}]*{label}[^}}]*\}} (\S+)$", text, re.MULTILINE)
    return sum(float(one) for one in found)


def observed(instance: Instance) -> float:
    """How many requests a watched budget would have refused."""
    return metric(instance, "router_admission_measures_total", 'measure="observed"')


def test_watching_counts_what_enforcing_refuses(instance: Instance, simulators: Simulators) -> None:
    """On one trace, one request after the other, as many would be refused as are; watching refuses and changes nothing."""
    trace = [
        (90, 200),
        (64, 64),
        (150, 300),
        (10, 2_000),
        (300, 300),
        (5, 100),
        (200, 200),
        (64, 70),
        (40, 40),
        (2, 3),
        (64, 64),
    ]
    before = observed(instance)
    statuses: dict[str, list[int]] = {"watched": [], "enforced": []}
    for tokens, most in trace:
        for route, budget in (("watched", "watching"), ("enforced", "enforcing")):
            answer = spend(instance, simulators, route, tokens, max_tokens=most)
            statuses[route].append(answer.status_code)
            if route == "watched":
                assert simulators.bodies("one")[-1]["max_tokens"] == most
                assert answer.headers["x-router-reason"] == "ordered"
            quiet_budget(instance, budget)
    assert set(statuses["watched"]) == {200}
    refused = statuses["enforced"].count(429)
    assert 0 < refused < len(trace)
    until(lambda: observed(instance) - before >= refused)
    assert observed(instance) - before == refused


@pytest.mark.parametrize("member", ["max_tokens", "max_completion_tokens", "max_output_tokens"])
def test_what_does_not_fit_is_shortened_and_nothing_else_changes(
    instance: Instance, simulators: Simulators, member: str
) -> None:
    """The provider is asked for what remains, in the caller's own member; the rest of the body arrives byte by byte."""
    left = micro_usd(quiet_budget(instance, "lowering")["remaining_usd"])
    simulators.faults("one", tokens=3)
    input_name = "input" if member == "max_output_tokens" else "messages"
    before = (
        '{"model": "lowered", "weird" : [1.50, 1e2, "\\u00e4\\/", {"' + member + '": 7}], "temperature":0.70, "' + input_name
    )
    before += '": [{"role": "user", "content": "Hello  there"}], "'
    after = ', "seed": 12345678901234567890, "metadata": {"a": "b"}}'
    path = "/v1/responses" if member == "max_output_tokens" else CHAT
    with instance.http() as http:
        answer = http.post(
            path, content=f'{before}{member}": 4000{after}'.encode(), headers={"content-type": "application/json"}
        )
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-router-reason"] == "ordered+max-tokens-lowered:lowering"
    assert answer.headers["x-router-budget-remaining"] == "0.000000"
    [request] = simulators.requests("one")
    sent = raw_body(request)
    assert json.loads(sent)[member] == left
    expected = f'{before}{member}": {left}{after}'.replace('"lowered"', '"weak"')
    assert sent.replace(" ", "") == expected.replace(" ", "")
    assert micro_usd(quiet_budget(instance, "lowering")["remaining_usd"]) == left - request["billed"]["completion_tokens"]


def raw_body(request: dict[str, Any]) -> str:
    return base64.b64decode(request["body_base64"]).decode()


def test_without_a_wish_the_assumed_length_is_set_aside_and_asked_for(instance: Instance, simulators: Simulators) -> None:
    """Not the model's limit of 5,000; the provider is told, so that the bound holds. A caller's own wish stays."""
    simulators.faults("one", tokens=5)
    answer = instance.ask("assuming")
    assert answer.headers["x-router-budget-remaining"] == "0.001800"
    assert [body.get("max_tokens", body.get("max_completion_tokens")) for body in simulators.bodies("one")] == [200]
    quiet_budget(instance, "assumed")
    answer = instance.ask("assuming", max_tokens=300)
    assert answer.headers["x-router-budget-remaining"] == "0.001695"
    assert simulators.bodies("one")[-1]["max_tokens"] == 300


def test_a_day_resets_at_midnight_of_its_own_zone(instance: Instance, simulators: Simulators) -> None:
    """What a refused caller is told is midnight in Berlin, in UTC; ``budgets show`` says the same."""
    stay_within_a_day(BERLIN)
    spend(instance, simulators, "day-in-berlin", 100)
    quiet_budget(instance, "berlin")
    before = time.time()
    refused = spend(instance, simulators, "day-in-berlin", 1)
    assert refused.status_code == 429
    resets = shown_budget(instance, "berlin")["resets_at"]
    assert datetime.fromisoformat(resets).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") in refused.json()["error"]["message"]
    midnight = datetime.fromisoformat(resets).astimezone(BERLIN)
    assert (midnight.hour, midnight.minute, midnight.second) == (0, 0, 0)
    told = int(refused.headers["retry-after"])
    assert midnight.timestamp() - time.time() <= told <= midnight.timestamp() - before + 1


def test_a_rolling_hour_is_free_when_it_was_told(instance: Instance, simulators: Simulators) -> None:
    """An hour, and at most the part of it that counts as a whole."""
    asked_at = time.time()
    spend(instance, simulators, "last-hour", 100)
    spent_by = time.time()
    quiet_budget(instance, "rolling")
    before = time.time()
    refused = spend(instance, simulators, "last-hour", 1)
    seconds = int(refused.headers["retry-after"])
    assert asked_at + 3_600 <= time.time() + seconds
    assert before + seconds <= spent_by + 3_600 + 60 + 1
