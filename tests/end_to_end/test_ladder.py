"""The ladder through the real Envoy: places without room, watched budgets, safe routes, sessions that go round in circles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from router_extproc.account import decode_account
from tests.end_to_end.running import HELLO, Instance, Simulators, running, until

pytestmark = [pytest.mark.end_to_end, pytest.mark.soak]

# An output token costs a micro-dollar from the small model and ten from the large one.
CONFIGURATION = """
providers:
  one: {base_url: $one/v1, limits: {requests_per_minute: 3}}
  two: {base_url: $two/v1, limits: {requests_per_minute: 2}}
  three: {base_url: $three/v1}
models:
  small: {tier: economy, deployments: [{provider: one}], prices: {input: 0, output: 1}, output_limit: 1000}
  large: {tier: premium, deployments: [{provider: two}], prices: {input: 0, output: 10}, output_limit: 1000}
  plain: {tier: economy, deployments: [{provider: three}], prices: {input: 0, output: 1}, output_limit: 1000}
  fine: {tier: premium, deployments: [{provider: three}], prices: {input: 0, output: 10}, output_limit: 1000}
routes:
  either: {targets: [large, small], same_tier: false}
  usual: {targets: [fine, plain], same_tier: false}
  safe: {targets: [fine, plain], same_tier: false, safety_critical: true}
budgets:
  watched: {requests: 2, window: month, mode: observe, match: {route: plain}}
  usual-purse: {usd: 0.010000, window: month, match: {route: usual}, downgrade_at: 0.5}
  safe-purse: {usd: 0.010000, window: month, match: {route: safe}, downgrade_at: 0.5}
loop_guard: {mode: enforce, repeats: 3}
waiting: {max_wait: 100ms}
"""
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]


@pytest.fixture(scope="module")
def simulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulators]:
    started = Simulators(tmp_path_factory.mktemp("simulators"), {"one": {}, "two": {}, "three": {}})
    yield started
    started.stop()


@pytest.fixture(scope="module")
def instance(simulators: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with running(Instance(tmp_path_factory.mktemp("instance"), simulators.fill(CONFIGURATION))) as started:
        yield started


def accounts(instance: Instance, decisions: list[str]) -> list[str]:
    """The accounts of these requests as Envoy's log has them."""

    def found() -> list[str] | None:
        by_decision = {one["decision"]: one["account"] for one in instance.access_lines() if one["kind"] == "request"}
        return [by_decision[one] for one in decisions] if set(decisions) <= by_decision.keys() else None

    told: list[str] = until(found)
    return told


def test_places_are_filled_one_after_the_other(instance: Instance, simulators: Simulators) -> None:
    """As many requests pass as the providers' limits have room for together; the next one is told when there is room again."""
    simulators.heal()
    answers = [instance.ask("either", max_tokens=10) for _ in range(6)]
    assert Counter(answer.headers.get("x-router-model") for answer in answers) == {"large": 2, "small": 3, None: 1}
    assert simulators.asked() == {"one": 3, "two": 2}
    refused = next(answer for answer in answers if answer.status_code != 200)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert refused.json()["error"]["type"] == "requests"
    assert refused.headers["x-should-retry"] == "false"
    # A minute, and the part of the window in which a request came; a second where requests are not settled yet.
    assert 1 <= int(refused.headers["retry-after"]) <= 62


def test_a_watched_budget_reports_and_refuses_nobody(instance: Instance) -> None:
    """Beyond its cap requests pass, and are left out of what it counts; nothing about them is changed."""
    answers = [instance.ask("plain", max_tokens=10) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert {answer.headers["x-router-reason"] for answer in answers} == {"named"}
    told = [decode_account(one) for one in accounts(instance, [answer.headers["x-router-decision"] for answer in answers])]
    assert [[held.budget for held in account.held] for account in told] == [["watched"], ["watched"], [], []]


def test_a_safe_route_keeps_its_model_where_another_is_downgraded(instance: Instance, simulators: Simulators) -> None:
    """Two routes with budgets alike and as full: the one that is safety-critical goes on with the strong model."""
    second = {}
    for route in ("usual", "safe"):
        simulators.heal()
        simulators.faults("three", stall_after_tokens=3)
        with instance.begun(route, max_tokens=600) as under_way:
            simulators.heal()
            second[route] = instance.ask(route, max_tokens=600)
            assert under_way.headers["x-router-reason"] == "ordered"
    told = {route: (answer.headers["x-router-model"], answer.headers["x-router-reason"]) for route, answer in second.items()}
    assert told == {
        "usual": ("plain", "ordered+budget-downgrade:usual-purse"),
        "safe": ("fine", "ordered+max-tokens-lowered:safe-purse"),
    }


def ask_in_session(instance: Instance, session: str, text: str = "Fix the build.") -> httpx.Response:
    messages: list[dict[str, Any]] = [{"role": "user", "content": text}]
    return instance.ask("fine", messages=messages, tools=TOOLS, max_tokens=10, headers={"x-router-session": session})


def test_a_session_that_goes_round_in_circles_is_stopped(instance: Instance, simulators: Simulators) -> None:
    """It is warned, then its model is asked to sum up without tools, then the SDK raises; other sessions go on."""
    simulators.heal()
    reasons = [ask_in_session(instance, "round").headers["x-router-reason"] for _ in range(3)]
    assert reasons == ["named", "named+loop-warned", "named+loop-summary"]
    bodies = simulators.bodies("three")
    assert [len(body["messages"]) for body in bodies] == [1, 1, 2]
    assert ["tools" in body for body in bodies] == [True, True, False]
    assert "Sum up" in bodies[-1]["messages"][-1]["content"]
    with (
        instance.client(default_headers={"x-router-session": "round"}) as client,
        pytest.raises(openai.RateLimitError) as stopped,
    ):
        client.chat.completions.create(model="fine", messages=[{"role": "user", "content": "Fix  the BUILD."}], max_tokens=10)
    assert stopped.value.code == "loop_stopped"
    assert "nearly the same request" in stopped.value.message
    assert ask_in_session(instance, "straight").status_code == 200


def test_a_long_honest_session_is_left_alone(instance: Instance) -> None:
    """Twenty different steps of one session are no loop, nor is repeating oneself without a session."""
    for step in range(20):
        answer = ask_in_session(instance, "honest", f"Now do step {step}.")
        assert (answer.status_code, answer.headers["x-router-reason"]) == (200, "named")
    for _ in range(5):
        assert instance.ask("fine", messages=HELLO, max_tokens=10).headers["x-router-reason"] == "named"
