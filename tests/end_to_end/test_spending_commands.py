"""Keys, budgets, the ledger and alerts through the real Envoy, as their user meets them."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.end_to_end.running import CHAT, HELLO, Instance, Simulators, at_work, running, until
from tests.end_to_end.spending import MODEL, command, ledger, micro_usd, settled
from tests.end_to_end.stopwatch import Stopwatch

pytestmark = pytest.mark.end_to_end

CONFIGURATION = f"""
auth: {{mode: keys}}
providers:
  one: {{base_url: "$one/v1"}}
models:
  small: {{deployments: [{{provider: one}}], {MODEL}}}
budgets:
  team: {{usd: 0.001, window: month, per: team, at_cap: allow_and_flag, warn_at: [0.5, 0.8]}}
alerts: {{webhook: {{env: WEBHOOK}}}}
decision_log: {{max_file_bytes: 64KiB}}
"""


class Webhook(BaseHTTPRequestHandler):
    """Remembers what it is told."""

    told: list[str]

    def do_POST(self) -> None:
        """One alert."""
        self.told.append(json.loads(self.rfile.read(int(self.headers["content-length"])))["text"])
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def told() -> Iterator[tuple[str, list[str]]]:
    """A webhook's address, and what it was told."""
    messages: list[str] = []
    handler = type("Handler", (Webhook,), {"told": messages})
    with at_work(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as server:
        yield f"http://127.0.0.1:{server.server_address[1]}/hook", messages


@pytest.fixture(scope="module")
def simulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulators]:
    simulated = Simulators(tmp_path_factory.mktemp("simulators"), {"one": {"models": ["small"]}})
    yield simulated
    simulated.stop()


@pytest.fixture(scope="module")
def instance(
    tmp_path_factory: pytest.TempPathFactory, simulators: Simulators, told: tuple[str, list[str]]
) -> Iterator[Instance]:
    configuration = CONFIGURATION.replace("$one", simulators.url("one"))
    folder: Path = tmp_path_factory.mktemp("instance")
    with running(Instance(folder, configuration, {"WEBHOOK": told[0]})) as up:
        yield up


@pytest.fixture(autouse=True)
def _healed(simulators: Simulators) -> None:
    simulators.heal()


def ask(instance: Instance, key: str, **body: Any) -> httpx.Response:
    return instance.ask("small", headers={"authorization": f"Bearer {key}"}, max_tokens=40, **body)


def bill(simulators: Simulators) -> int:
    """Micro-dollars at the prices of the configuration: 2.5 in, 1.25 cached, 10 out, rounded up for each request."""
    usages = [request["billed"] for request in simulators.requests("one")]
    quarters = [
        (usage["prompt_tokens"] - usage["cached_tokens"]) * 10 + usage["cached_tokens"] * 5 + usage["completion_tokens"] * 40
        for usage in usages
    ]
    return sum(-(-each // 4) for each in quarters)


def test_a_key_lives_and_dies_within_a_second(instance: Instance) -> None:
    """Made by the command it opens the door, rotated both secrets do for the overlap, revoked none does."""
    made = command(instance, "keys", "create", "--tenant", "life")
    assert ask(instance, made["key"]).status_code == 200
    rotated = command(instance, "keys", "rotate", made["id"], "--overlap", "1h")
    assert [ask(instance, each["key"]).status_code for each in (made, rotated)] == [200, 200]
    command(instance, "keys", "revoke", made["id"])
    with Stopwatch() as watch:
        until(lambda: {ask(instance, each["key"]).status_code for each in (made, rotated)} == {401})
    assert watch.seconds < 1
    assert ask(instance, "sk-router-aaaaaaaaaaaaaaaa.nonsense").status_code == 401
    actions = [entry["action"] for entry in command(instance, "audit")["entries"] if entry["subject"] == made["id"]]
    assert actions == ["key.revoke", "key.rotate", "key.create"]


def test_the_bill_is_settled_to_the_micro_dollar(instance: Instance, simulators: Simulators) -> None:
    """Whole answers, streams that ask for usage and streams that do not; the budget, the ledger and the bill agree."""
    key = command(instance, "keys", "create", "--tenant", "exact", "--budget-usd", "5", "--window", "month")["key"]
    for body in ({}, {"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}):
        for _ in range(3):
            assert ask(instance, key, **body).status_code == 200
    shown = settled(instance, "exact")
    assert micro_usd(shown["settled_usd"]) == bill(simulators)
    rows = [row for row in ledger([instance]) if row["tenant"] == "exact"]
    assert sum(row["cost_micro_usd"] for row in rows) == bill(simulators)
    assert {(row["usage_source"], row["provider"], row["model"]) for row in rows} == {("provider", "one", "small")}
    assert micro_usd(shown["remaining_usd"]) == 5_000_000 - bill(simulators)


def test_a_client_that_leaves_pays_for_what_was_made(instance: Instance, simulators: Simulators) -> None:
    """A slow stream is left after a few tokens: about these are settled, and what was set aside is given back."""
    made = command(instance, "keys", "create", "--tenant", "leaver", "--budget-usd", "1", "--window", "month")
    simulators.faults("one", inter_token_ms=200)
    body = {"model": "small", "messages": HELLO, "max_tokens": 400, "stream": True}
    headers = {"authorization": f"Bearer {made['key']}"}
    with instance.http() as http, http.stream("POST", CHAT, json=body, headers=headers) as stream:
        for number, _ in enumerate(stream.iter_lines()):
            if number == 6:
                break
    shown = settled(instance, "leaver")
    [row] = [row for row in ledger([instance]) if row["tenant"] == "leaver"]
    assert (row["usage_source"], row["cause"] in ("", "client_disconnected")) == ("events", True)
    until(lambda: simulators.requests("one")[0]["billed"]["completion_tokens"] > 0)
    sent = simulators.requests("one")[0]["billed"]["completion_tokens"]
    assert abs(row["completion_tokens"] - sent) <= 5
    assert 0 < micro_usd(shown["settled_usd"]) == row["cost_micro_usd"]


def test_a_killed_observer_and_a_rotated_log_lose_nothing(instance: Instance, simulators: Simulators) -> None:
    """Requests go on while the observer is dead and while files change: in the end everything is settled once."""
    key = command(instance, "keys", "create", "--tenant", "rotated", "--budget-usd", "5", "--window", "month")["key"]
    first = instance.state / "logs" / "access.jsonl.1"
    before = first.stat().st_ino if first.exists() else 0
    count = 0
    deadline = time.monotonic() + 60
    while not first.exists() or first.stat().st_ino == before or count < 40:
        assert time.monotonic() < deadline, "the log was not rotated"
        answer = ask(instance, key)
        assert answer.status_code == 200, answer.text
        count += 1
        if count == 20:
            os.kill(instance.pids("observer")[0], signal.SIGKILL)
    until(instance.is_ready)
    assert ask(instance, key).status_code == 200
    shown = settled(instance, "rotated")
    assert micro_usd(shown["settled_usd"]) == bill(simulators)
    assert len([row for row in ledger([instance]) if row["tenant"] == "rotated"]) == count + 1


def test_each_threshold_is_told_once(instance: Instance, told: tuple[str, list[str]]) -> None:
    """By webhook, and in the list of alerts; the request that reached it passed."""
    key = command(instance, "keys", "create", "--tenant", "alerted", "--team", "search")["key"]
    for _ in range(8):
        assert ask(instance, key).status_code == 200
    until(lambda: len(told[1]) >= 2)
    time.sleep(1.5)  # long enough for a third, were there one
    assert [text.split(" has used ")[1].split(" %")[0] for text in told[1]] == ["50", "80"]
    assert all(text.startswith("Budget team (team=search)") for text in told[1])

    def deliveries() -> list[str]:
        shown = instance.admin.get(f"{instance.admin_url}/alerts").json()["alerts"]
        return [each["delivery"] for each in shown if "team=search" in each["text"]]

    until(lambda: deliveries() == ["delivered"] * 2)
