"""Servers that refuse the router's wish for a stream's usage: asked no more, and settled by what came of their streams."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.end_to_end.running import HELLO, Instance, Simulators, until
from tests.end_to_end.spending import MODEL, ledger, quiet_budget
from tests.end_to_end.test_usage_injection import events

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("healed", "strict")]

SIMULATED: dict[str, dict[str, Any]] = {"old": {}, "new": {}}
CONFIGURATION = f"""
providers:
  old: {{base_url: "$old/v1", include_stream_usage: false}}
  # The same server, about which nobody has said so.
  unsaid: {{base_url: "$old/v1"}}
  new: {{base_url: "$new/v1"}}
models:
  aged: {{deployments: [{{provider: old}}], {MODEL}}}
  known-as: {{deployments: [{{provider: old, model: aged}}], {MODEL}}}
  asked: {{deployments: [{{provider: unsaid, model: aged}}], {MODEL}}}
  fresh: {{deployments: [{{provider: new}}], {MODEL}}}
routes:
  old-first: {{targets: [aged, fresh]}}
  old-last: {{targets: [fresh, aged]}}
  old-last-renamed: {{targets: [fresh, known-as]}}
budgets: {{house: {{usd: 1000, window: month}}}}
cooling: {{failures: 1000, failure_ratio: 1.0}}
"""
ASKING: dict[str, Any] = {"stream_options": {"include_usage": True}}


@pytest.fixture
def strict(simulators: Simulators) -> None:
    simulators.faults("old", unknown_members=["stream_options"], tokens=40)


def settled(instance: Instance, decision: str) -> list[dict[str, Any]]:
    """The ledger's rows of one request, in order, once nothing is set aside for it any more."""

    def found() -> list[dict[str, Any]]:
        return sorted((row for row in ledger([instance]) if row["request"] == decision), key=lambda row: int(row["attempt"]))

    rows: list[dict[str, Any]] = until(found)
    quiet_budget(instance, "house")
    return rows


def test_a_server_that_is_asked_all_the_same_refuses(instance: Instance) -> None:
    """Without the switch its 400 is what the client gets: the error names what it did not know."""
    answer = instance.ask("asked", stream=True)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "stream_options")
    assert instance.ask("asked").status_code == 200


def test_a_server_that_is_not_asked_answers_and_is_settled_by_events(instance: Instance, simulators: Simulators) -> None:
    """Every token that came is paid for, about one for each event, the prompt as estimated; and nothing stays set aside."""
    answer = instance.ask("aged", stream=True)
    assert answer.status_code == 200
    assert events(answer.text)
    [sent] = simulators.bodies("old")
    assert "stream_options" not in sent
    [row] = settled(instance, answer.headers["x-router-decision"])
    [request] = simulators.requests("old")
    assert row["usage_source"] == "events"
    assert abs(row["completion_tokens"] - request["billed"]["completion_tokens"]) <= 2
    assert row["prompt_tokens"] > 0
    assert row["cost_micro_usd"] > 0


def test_plain_answers_tell_their_usage_as_ever(instance: Instance, simulators: Simulators) -> None:
    """The switch is about streams alone."""
    answer = instance.ask("aged")
    [row] = settled(instance, answer.headers["x-router-decision"])
    [request] = simulators.requests("old")
    told = {name: row[name] for name in request["billed"]}
    assert (row["usage_source"], told) == ("provider", request["billed"])


def test_the_next_provider_is_asked_again(instance: Instance, simulators: Simulators) -> None:
    """After an old server failed: the usage is in the ledger, and the client does not see what it did not ask for."""
    simulators.faults("old", status=503)
    answer = instance.ask("old-first", stream=True)
    assert answer.headers["x-router-deployment"] == "new/fresh"
    assert all(event["choices"] for event in events(answer.text))
    assert [body.get("stream_options") for body in simulators.bodies("new")] == [{"include_usage": True}]
    *_, last = settled(instance, answer.headers["x-router-decision"])
    [request] = simulators.requests("new")
    assert (last["usage_source"], last["completion_tokens"]) == ("provider", request["billed"]["completion_tokens"])


@pytest.mark.parametrize("route", ["old-last", "old-last-renamed"])
def test_an_old_server_after_another_is_not_asked(instance: Instance, simulators: Simulators, route: str) -> None:
    """The wish that the first attempt carried is taken out of the body, also where its model is renamed."""
    simulators.faults("new", status=503)
    answer = instance.ask(route, stream=True)
    assert (answer.status_code, answer.headers["x-router-attempts"]) == (200, "2")
    assert events(answer.text)
    [sent] = simulators.bodies("old")
    assert sent == {"model": "aged", "messages": HELLO, "stream": True}
    *_, last = settled(instance, answer.headers["x-router-decision"])
    assert (last["usage_source"], last["deployment"].partition("/")[0]) == ("events", "old")


def test_what_the_client_asks_for_itself_is_its_own(instance: Instance, simulators: Simulators) -> None:
    """It is sent on to whom it may concern, whose answer the client gets; elsewhere it gets its usage."""
    assert instance.ask("aged", stream=True, **ASKING).status_code == 400
    told = [
        json.loads(piece.removeprefix("data: "))
        for piece in instance.ask("old-last", stream=True, **ASKING).text.split("\n\n")[:-2]
    ]
    assert told[-1]["usage"]["prompt_tokens"] > 0
    simulators.faults("new", status=503)
    assert instance.ask("old-last", stream=True, **ASKING).status_code == 400
