"""Whoever tries gets no more out of a cap than it holds: odd bodies, many answers, several limits, other paths, impatience."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx
import pytest

from tests.end_to_end.running import CHAT, HELLO, Instance, Simulators, until
from tests.end_to_end.spending import MODEL, billed, ledger, micro_usd, quiet_budget

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("healed")]

SIMULATED: dict[str, dict[str, Any]] = {"one": {}, "two": {}}
CAP = 20_000  # micro-dollars: two thousand tokens of answers
ATTACKS = ("odd", "many", "impatient", "judged")
CONFIGURATION = f"""
workers: {{count: 2}}
providers:
  one: {{base_url: $one/v1}}
  two: {{base_url: $two/v1}}
models:
  small: {{deployments: [{{provider: one}}], {MODEL}}}
  other: {{deployments: [{{provider: two}}], {MODEL}}}
routes:
  odd: {{targets: [small]}}
  many: {{targets: [small]}}
  impatient: {{targets: [small]}}
  judged: {{targets: [small, other], check: {{answer: true}}}}
budgets:
{"".join(f"  {name}: {{usd: 0.02, window: month, match: {{route: {name}}}}}{chr(10)}" for name in ATTACKS)}
cooling: {{failures: 100000, failure_ratio: 1.0}}
"""
HEADERS = {"content-type": "application/json"}
COMPLETIONS, RESPONSES = "/v1/completions", "/v1/responses"
# Members as a lenient provider may or may not act on them; each is sent with a body that asks for a long answer.
ODD: list[str] = [
    '"max_tokens": 0',
    '"max_tokens": -5',
    '"max_tokens": null',
    '"max_tokens": true',
    '"max_tokens": "10"',
    '"max_tokens": 10.5',
    '"max_tokens": 1e3',
    '"max_tokens": 1000000000000000000000000',
    '"max_tokens": 1, "max_tokens": 4000',
    '"max_tokens": 4000, "max_tokens": 1',
    '"max_tokens": 1, "max_completion_tokens": 4000',
    '"max_completion_tokens": 1, "max_tokens": 4000',
    '"max\\u005ftokens": 4000',
    '"max_tokens": 1, "max\\u005ftokens": 4000',
    '"n": 50, "max_tokens": 100',
    '"n": "50", "max_tokens": 100',
    '"n": 2.0, "max_tokens": 900',
    '"n": 1, "n": 50, "max_tokens": 100',
    '"n": -1, "max_tokens": 100',
    '"n": 1000000, "max_tokens": 1',
    '"stream": true, "stream_options": {"include_usage": false}',
    '"stream": true, "stream_options": null',
    '"stream": true, "stream_options": {}, "max_tokens": 5',
    '"stream": "true"',
]


def bill(simulators: Simulators) -> int:
    return sum(billed(simulators, simulators.ports))


@pytest.fixture
def http(instance: Instance) -> Iterator[httpx.Client]:
    with instance.http(headers=HEADERS) as client:
        yield client


def check(instance: Instance, simulators: Simulators, name: str) -> None:
    """In the end: no more than the cap is billed, what is settled is what is billed, and nothing stays set aside."""
    shown = quiet_budget(instance, name)
    assert micro_usd(shown["settled_usd"]) == bill(simulators)
    assert 0 < bill(simulators) <= CAP


def test_odd_bodies(instance: Instance, simulators: Simulators, http: httpx.Client) -> None:
    """However the limits of an answer are written, each request is refused, or bounded by what is left."""
    simulators.faults("one", tokens=3_000)
    bodies = [f'{{"model": "odd", "messages": {json.dumps(HELLO)}, {one}}}' for one in ODD]
    random.Random(7).shuffle(bodies)  # noqa: S311 - an order that repeats itself
    for body in bodies:
        before = bill(simulators)
        left = CAP - before
        answer = http.post(CHAT, content=body.encode())
        assert answer.status_code in (200, 400, 429), (body, answer.text)
        assert bill(simulators) - before <= left, body
        quiet_budget(instance, "odd")
    check(instance, simulators, "odd")


def test_many_answers(instance: Instance, simulators: Simulators, http: httpx.Client) -> None:
    """Lists of prompts, best-of searches and choices multiply what is set aside as they multiply the bill."""
    simulators.faults("one", tokens=200)
    for path, body in (
        (COMPLETIONS, {"prompt": ["a"] * 20, "n": 5, "max_tokens": 200}),
        (COMPLETIONS, {"prompt": ["a"] * 4, "n": 2, "max_tokens": 200}),
        (COMPLETIONS, {"prompt": [[1, 2, 3]] * 10, "max_tokens": 30}),
        (COMPLETIONS, {"prompt": "a", "best_of": 20, "max_tokens": 200}),
        (COMPLETIONS, {"prompt": "a", "best_of": 3, "n": 2, "max_tokens": 20}),
        (CHAT, {"messages": HELLO, "n": 30}),
        (CHAT, {"messages": HELLO, "n": 3}),
        (RESPONSES, {"input": "a" * 3_000, "max_output_tokens": 200}),
        (RESPONSES, {"input": "a"}),
        ("/v1/embeddings", {"input": ["word " * 400] * 20}),
    ):
        before = bill(simulators)
        answer = http.post(path, json={"model": "many", **body})
        assert answer.status_code in (200, 400, 429), (body, answer.text)
        assert bill(simulators) <= CAP, (path, body, bill(simulators) - before)
        quiet_budget(instance, "many")
    check(instance, simulators, "many")


def test_impatience(instance: Instance, simulators: Simulators) -> None:
    """Clients that leave at any moment, fifty at once, get no more out of a cap; what is settled never exceeds it."""
    simulators.faults("one", tokens=30, inter_token_ms=3)
    chance, lock = random.Random(11), threading.Lock()  # noqa: S311 - draws when they leave

    def ask(number: int) -> None:
        with lock:
            patience = chance.choice([0.02, 0.05, 0.1, 0.3, 5.0])
        body = {"model": "impatient", "messages": HELLO, "max_tokens": 100, "stream": number % 2 == 0}
        with suppress(httpx.TransportError), instance.http(headers=HEADERS) as client:
            client.post(CHAT, json=body, timeout=patience)

    with ThreadPoolExecutor(25) as pool:
        list(pool.map(ask, range(100)))

    def settled() -> tuple[int, list[dict[str, Any]]]:
        shown = quiet_budget(instance, "impatient")
        return micro_usd(shown["settled_usd"]), [row for row in ledger([instance]) if row["route"] == "impatient"]

    # Between the two questions the last of them may have been settled.
    until(lambda: (told := settled())[0] == sum(row["cost_micro_usd"] for row in told[1]))
    amount, rows = settled()
    assert amount == sum(row["cost_micro_usd"] for row in rows) <= CAP
    assert {row["usage_source"] for row in rows} >= {"provider"}
    reported = sum(row["cost_micro_usd"] for row in rows if row["usage_source"] == "provider")
    completed = [request for request in simulators.requests("one") if request["outcome"] == "complete"]
    assert reported <= bill(simulators)
    assert len({row["request"] for row in rows}) == len(rows) >= len(completed)


def test_answers_that_are_turned_down(instance: Instance, simulators: Simulators, http: httpx.Client) -> None:
    """Both providers are paid for one answer; until the cap is reached, and not beyond."""
    simulators.faults("one", tokens=40, malformed="broken")
    simulators.faults("two", tokens=40)
    served = 0
    for number in range(200):
        body = {"model": "judged", "messages": HELLO, "max_tokens": 150, "stream": number % 2 == 0}
        status = http.post(CHAT, json=body).status_code
        assert status in (200, 429)
        served += status == 200
        if status == 429:
            # What is under way may have been in the way; what is settled then is not going to change.
            quiet_budget(instance, "judged")
            if http.post(CHAT, json=body).status_code == 429:
                break
    assert served > 5
    shown = quiet_budget(instance, "judged")
    assert micro_usd(shown["settled_usd"]) <= CAP
    assert micro_usd(shown["remaining_usd"]) < 2 * 80 * 10 + 200, "two answers of a useful length would fit"
    assert 0 < bill(simulators) <= CAP
