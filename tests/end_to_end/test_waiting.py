"""Limits of providers, through the real Envoy: elsewhere first, then a wait, then a refusal; interactive work before batch."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx
import pytest

from router_extproc.limits.identity import digest_of
from tests.end_to_end.running import Instance, Simulators, until

pytestmark = [pytest.mark.end_to_end, pytest.mark.soak]


def secret(name: str) -> str:
    return f"sk-router-{name}.not-so-secret-canary"


def key(name: str, more: str) -> str:
    return f'  {name}: {{tenant: acme, digest: "{digest_of(secret(name), b"0123456789abcdef")}", {more}}}\n'


SIMULATED: dict[str, dict[str, Any]] = {"narrow": {}, "wide": {}}
CONFIGURATION = (
    """
workers: {count: 1}
providers:
  narrow: {base_url: $narrow/v1, limits: {parallel: 1}}
  wide: {base_url: $wide/v1}
models:
  small: {deployments: [{provider: narrow}]}
  other: {deployments: [{provider: wide}]}
routes:
  either: {targets: [small, other], same_tier: false}
auth: {mode: keys}
waiting: {max_wait: 4s, max_waiters: 5, interactive_share: 0}
tenants: {acme: {}}
keys:
"""
    + key("person", "priority: interactive")
    + key("machine", "priority: batch")
)


def ask(instance: Instance, name: str, model: str = "small") -> httpx.Response:
    return instance.ask(model, headers={"authorization": f"Bearer {secret(name)}"})


def has_asked(simulators: Simulators, count: int) -> bool:
    return simulators.asked().get("narrow", 0) >= count


@pytest.fixture(autouse=True)
def _healthy(simulators: Simulators) -> None:
    simulators.heal()


def test_a_full_provider_is_passed_over(instance: Instance, simulators: Simulators) -> None:
    """While its one place is taken the other provider answers, and nobody waits."""
    simulators.faults("narrow", latency_ms=1_000)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(ask, instance, "person", "either")
        until(partial(has_asked, simulators, 1))
        second = ask(instance, "person", "either")
        assert not first.done()
        assert first.result(10).headers["x-router-model"] == "small"
    assert second.headers["x-router-model"] == "other"


def test_who_may_go_nowhere_else_waits_and_interactive_work_goes_first(instance: Instance, simulators: Simulators) -> None:
    """One after the other, as places become free; batch work that came earlier comes later."""
    simulators.faults("narrow", latency_ms=400)
    ended: list[str] = []

    def run(name: str) -> int:
        answer = ask(instance, name)
        ended.append(name)
        return answer.status_code

    with ThreadPoolExecutor() as pool:
        running: list[Future[int]] = [pool.submit(run, "person")]
        until(partial(has_asked, simulators, 1))
        for name in ("machine", "machine", "person", "person"):
            running.append(pool.submit(run, name))
            time.sleep(0.05)  # the order of arrival is what is tested
        assert [one.result(20) for one in running] == [200] * 5
    assert ended == ["person"] * 3 + ["machine"] * 2


def test_the_waiting_room_is_bounded_and_so_is_the_wait(instance: Instance, simulators: Simulators) -> None:
    """Five wait; who comes then is refused at once, and who has waited long enough in the end."""
    simulators.faults("narrow", latency_ms=7_000)
    with ThreadPoolExecutor(max_workers=10) as pool:
        taken = pool.submit(ask, instance, "person")
        until(partial(has_asked, simulators, 1))
        started = time.monotonic()
        answers = [one.result(20) for one in [pool.submit(ask, instance, "person") for _ in range(8)]]
        assert taken.result(20).status_code == 200
    assert {answer.status_code for answer in answers} == {429}
    assert {answer.json()["error"]["code"] for answer in answers} == {"rate_limit_exceeded"}
    assert sum(answer.elapsed.total_seconds() < 3 for answer in answers) == 3
    assert sum(answer.elapsed.total_seconds() > 3.5 for answer in answers) == 5
    assert time.monotonic() - started < 15
