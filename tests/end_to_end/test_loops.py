"""An agent that goes round in circles is stopped; one that gets on is left alone."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.end_to_end.running import Instance, Simulators, until

pytestmark = pytest.mark.end_to_end

REPEATS = 5
SIMULATED: dict[str, dict[str, Any]] = {"one": {}}
CONFIGURATION = f"""
providers:
  one: {{base_url: $one/v1}}
models:
  small: {{deployments: [{{provider: one}}]}}
loop_guard: {{mode: enforce, repeats: {REPEATS}}}
"""
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]


class Agent:
    """Calls a tool, gets an answer, and calls again; each call has an id of its own."""

    def __init__(self, instance: Instance, session: str) -> None:
        self.instance, self.session = instance, session
        self.said: list[dict[str, Any]] = [{"role": "user", "content": "Find the mistake."}]

    def step(self, page: int) -> httpx.Response:
        number = len(self.said)
        call = {"id": f"call_{number}", "type": "function", "function": {"name": "look", "arguments": f'{{"page": {page}}}'}}
        self.said += [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": call["id"], "content": f"Nothing on page {page}. (12:0{number % 10}:11)"},
        ]
        return self.instance.ask("small", headers={"x-router-session": self.session}, messages=self.said, tools=TOOLS)


def test_a_looper_is_warned_asked_to_sum_up_and_stopped(instance: Instance, simulators: Simulators) -> None:
    """Within the repeats that are allowed; the provider then sees no tools, and in the end nothing at all."""
    simulators.heal()
    agent = Agent(instance, "looper")
    answers = [agent.step(page=1) for _ in range(REPEATS + 2)]
    assert [answer.status_code for answer in answers] == [200] * REPEATS + [429] * 2
    assert [answer.headers["x-router-reason"] for answer in answers[:REPEATS]] == [
        *["named"] * (REPEATS - 2),
        "named+loop-warned",
        "named+loop-summary",
    ]
    bodies = simulators.bodies("one")
    assert len(bodies) == REPEATS
    assert all("tools" in body for body in bodies[:-1])
    assert "tools" not in bodies[-1]
    assert bodies[-1]["messages"][:-1] == agent.said[: len(bodies[-1]["messages"]) - 1]
    assert bodies[-1]["messages"][-1]["role"] == "system"
    assert answers[-1].json()["error"]["code"] == "loop_stopped"
    assert answers[-1].headers["x-should-retry"] == "false"
    logs = instance.state / "logs"
    until(lambda: sum(file.read_text().count("goes round in circles") for file in logs.glob("worker-*.log")) == 1)


def test_a_long_honest_session_goes_on(instance: Instance) -> None:
    """Many steps over one document, each of them another page."""
    agent = Agent(instance, "honest")
    assert {agent.step(page).status_code for page in range(30)} == {200}
