"""What budgets count, for whom, and until when: every scope, every unit, raises that end, and slots that become free again."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from router_extproc.limits.counter_names import counter_name
from router_extproc.limits.identity import digest_of
from router_extproc.limits.windows import part
from router_extproc.registry.spending import Budget, Window
from router_extproc.store.ledger import Charge, Ledger, LedgerRow, Settlement
from tests.end_to_end.running import CHAT, HELLO, Instance, Simulators, until
from tests.end_to_end.spending import command, micro_usd, quiet_budget
from tests.end_to_end.stopwatch import Stopwatch

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("healed")]

SIMULATED: dict[str, dict[str, Any]] = {"one": {}, "two": {}}
CALLERS: dict[str, str] = {
    "by-tenant-1": "tenant: narrow",
    "by-tenant-2": "tenant: narrow",
    "red-1": "tenant: teams, team: red",
    "red-2": "tenant: teams, team: red",
    "blue": "tenant: teams, team: blue",
    "ann-1": "tenant: people, team: makers, user: ann",
    "ann-2": "tenant: people, team: makers, user: ann",
    "bob": "tenant: people, team: makers, user: bob",
    "apollo-1": "tenant: wide, tags: {project: apollo}",
    "apollo-2": "tenant: other, tags: {project: apollo}",
    "gemini": "tenant: wide, tags: {project: gemini}",
    "own": "tenant: wide, budgets: {pace: {requests: 2, window: month}}",
    "free": "tenant: wide",
    "elsewhere": "tenant: other",
    "alone": "tenant: wide, budgets: {slot: {parallel: 1}}",
    "raised": "tenant: wide, budgets: {pace: {requests: 1, window: month}}",
    "rolled": "tenant: wide, budgets: {pace: {requests: 3, window: month, rollover: true}}",
    "quick": "tenant: wide, budgets: {pace: {requests: 2, window: {rolling: 3s}}}",
    "counting": "tenant: wide, budgets: {words: {tokens: 1000, window: month}}",
    "poor": "tenant: wide, budgets: {nothing: {usd: 0, window: month}}",
    "many": "tenant: wide, team: several, budgets: {purse: {usd: 1, window: month}, pace: {requests: 100, window: week}}",
}
FACTS = "tier: economy, capabilities: [], context_window: 100000, output_limit: 2000"


def secret(name: str) -> str:
    return f"sk-router-{name}.not-so-secret-canary"


KEYS = "\n".join(
    f'  {name}: {{digest: "{digest_of(secret(name), b"0123456789abcdef")}", {more}}}' for name, more in CALLERS.items()
)
CONFIGURATION = f"""
workers: {{count: 2}}
auth: keys
providers:
  one: {{base_url: $one/v1}}
  two: {{base_url: $two/v1}}
models:
  small: {{{FACTS}, deployments: [{{provider: one}}], prices: {{input: 1, output: 2}}}}
  gift: {{{FACTS}, deployments: [{{provider: one}}], prices: {{input: 0, output: 0}}}}
  rare: {{{FACTS}, deployments: [{{provider: one}}], prices: {{input: 1, output: 2}}}}
  there: {{{FACTS}, deployments: [{{provider: two}}], prices: {{input: 1, output: 2}}}}
  placed: {{{FACTS}, deployments: [{{provider: one}}, {{provider: two}}], prices: {{input: 1, output: 2}}}}
routes:
  brief: {{targets: [there], timeouts: {{deadline: 1s}}}}
tenants: {{narrow: {{}}, teams: {{}}, people: {{}}, wide: {{}}, other: {{}}}}
budgets:
  everybody: {{requests: 1000000, window: month}}
  by-tenant: {{requests: 2, window: month, match: {{tenant: narrow}}}}
  by-team: {{requests: 2, window: month, match: {{tenant: teams}}, per: team}}
  by-user: {{requests: 2, window: month, match: {{tenant: people}}, per: user}}
  makers: {{requests: 3, window: month, match: {{team: makers}}}}
  apollo: {{requests: 2, window: month, match: {{"tag:project": apollo}}}}
  model: {{requests: 2, window: month, match: {{model: rare}}}}
  placed: {{requests: 2, window: month, match: {{deployment: one/placed}}}}
  session: {{iterations: 3, per: session}}
  several: {{tokens: 1000000, window: month, match: {{team: several}}}}
loop_guard: {{mode: enforce, repeats: 1000, window: 1h}}
cooling: {{failures: 100000, failure_ratio: 1.0}}
keys:
{KEYS}
"""
_sessions = (f"session-{number}" for number in itertools.count())


def bearer(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret(name)}"}


def ask(instance: Instance, name: str, model: str = "small", *, headers: dict[str, str] | None = None, **body: Any) -> Any:
    return instance.ask(model, headers={**bearer(name), **(headers or {})}, **{"max_tokens": 5} | body)


def statuses(instance: Instance, *names: str, **more: Any) -> list[int]:
    return [ask(instance, name, **more).status_code for name in names]


def refusal(answer: httpx.Response) -> tuple[int, str, str]:
    """Status, code, and the name of the budget in the message."""
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["message"].split("'")[1]


@pytest.mark.parametrize(
    ("used", "refused", "budget", "passes"),
    [
        (["by-tenant-1", "by-tenant-2"], "by-tenant-1", "by-tenant", "free"),
        (["red-1", "red-2"], "red-2", "by-team", "blue"),
        (["apollo-1", "apollo-2"], "apollo-1", "apollo", "gemini"),
        (["own", "own"], "own", "key:own:pace", "free"),
    ],
    ids=["tenant", "team", "tag", "key"],
)
def test_who_shares_a_label_shares_the_amount(
    instance: Instance, used: list[str], refused: str, budget: str, passes: str
) -> None:
    """Several keys use up one budget, whoever of them asks next is refused by its name, and who has another label is not."""
    assert statuses(instance, *used) == [200, 200]
    answer = ask(instance, refused)
    assert refusal(answer) == (429, "rate_limit_exceeded", budget)
    assert answer.json()["error"]["type"] == "requests"
    assert statuses(instance, passes) == [200]


def test_an_end_user_s_cap_is_independent_of_the_team_s(instance: Instance) -> None:
    """A user without room leaves the team's room to others; a team without room stops users that have some."""
    assert statuses(instance, "ann-1", "ann-2") == [200, 200]
    assert refusal(ask(instance, "ann-1")) == (429, "rate_limit_exceeded", "by-user")
    assert statuses(instance, "bob") == [200]
    assert refusal(ask(instance, "bob")) == (429, "rate_limit_exceeded", "makers")


def test_everybody_counts_in_a_budget_without_labels(instance: Instance) -> None:
    """Whatever tenant asks, and refused requests not."""
    before = int(quiet_budget(instance, "everybody")["settled"])
    served = statuses(instance, "free", "elsewhere", "poor", "gemini").count(200)
    assert served == 3
    assert int(quiet_budget(instance, "everybody")["settled"]) == before + served


def test_one_key_counts_in_several_budgets(instance: Instance) -> None:
    """Money, requests and tokens of one request, each in its own budget."""
    answer = ask(instance, "many")
    assert answer.status_code == 200
    usage = answer.json()["usage"]
    purse = quiet_budget(instance, "key:many:purse")
    assert micro_usd(purse["settled_usd"]) == usage["prompt_tokens"] + 2 * usage["completion_tokens"]
    assert quiet_budget(instance, "key:many:pace")["settled"] == 1
    assert quiet_budget(instance, "several")["settled"] == usage["total_tokens"]


def test_a_model_s_budget_and_a_deployment_s_close_the_place(instance: Instance) -> None:
    """A model at its end is refused where it was asked for by name; a deployment at its end leaves the other one."""
    assert statuses(instance, "free", "elsewhere", model="rare") == [200, 200]
    assert refusal(ask(instance, "free", "rare")) == (429, "rate_limit_exceeded", "model")
    answers = [ask(instance, "free", "placed") for _ in range(12)]
    assert {answer.status_code for answer in answers} == {200}
    assert sum(answer.headers["x-router-deployment"] == "one/placed" for answer in answers) <= 2


def test_a_session_has_so_many_steps(instance: Instance) -> None:
    """Then it is refused for a month; another session and the same name in another tenant are not."""
    session = {"x-router-session": next(_sessions)}
    assert statuses(instance, *["free"] * 3, headers=session) == [200] * 3
    answer = ask(instance, "free", headers=session)
    assert refusal(answer) == (429, "budget_exceeded", "session")
    # As soon as the three are settled: one that has ended a moment ago may still count for less.
    assert until(lambda: int(ask(instance, "free", headers=session).headers["retry-after"]) > 29 * 86_400)
    assert answer.headers["x-should-retry"] == "false"
    assert statuses(instance, "elsewhere", headers=session) == [200]
    assert statuses(instance, "free", headers={"x-router-session": next(_sessions)}) == [200]


def test_tokens_are_prompt_and_answer_together(instance: Instance, simulators: Simulators) -> None:
    """To the token; what is left then shortens the next answer, and its headers say so in OpenAI's names."""
    simulators.faults("one", tokens=700)
    used = ask(instance, "counting", max_tokens=700).json()["usage"]
    assert used["completion_tokens"] == 700
    assert quiet_budget(instance, "key:counting:words")["settled"] == used["total_tokens"]
    answer = ask(instance, "counting", max_tokens=500)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-router-reason"].endswith("+max-tokens-lowered:key:counting:words")
    assert answer.headers["x-ratelimit-limit-tokens"] == "1000"
    assert answer.headers["x-ratelimit-remaining-tokens"] == "0"
    assert quiet_budget(instance, "key:counting:words")["settled"] <= 1000


def test_what_costs_nothing_passes_a_budget_of_nothing(instance: Instance) -> None:
    """A price of zero is a price; what costs something does not pass, and is told that it never will."""
    assert ask(instance, "poor", "gift").status_code == 200
    answer = ask(instance, "poor", "small")
    assert refusal(answer) == (429, "budget_exceeded", "key:poor:nothing")
    assert "retry-after" not in answer.headers


def test_a_raise_counts_until_its_end(instance: Instance) -> None:
    """A budget that is used up lets pass what it was raised by; what was not used of it in time is gone."""
    assert statuses(instance, "raised", "raised") == [200, 429]
    command(instance, "budgets", "raise", "key:raised:pace", "--requests", "1", "--until", "1h")
    until(lambda: ask(instance, "raised").status_code == 200)
    assert statuses(instance, "raised") == [429]
    before = datetime.now(UTC)
    granted = command(instance, "budgets", "raise", "key:raised:pace", "--requests", "5", "--until", "10s")
    asked_within = datetime.fromisoformat(granted["until"]) - timedelta(seconds=10)
    assert before - timedelta(seconds=1) <= asked_within <= datetime.now(UTC)
    until(lambda: ask(instance, "raised").status_code == 200)
    time.sleep(max(0.0, datetime.fromisoformat(granted["until"]).timestamp() - time.time()) + 0.05)
    assert statuses(instance, "raised") == [429]
    raised = [entry for entry in command(instance, "audit")["entries"] if entry["action"] == "budget.raise"]
    assert [entry["subject"] for entry in raised] == ["key:raised:pace"] * 2


def test_what_the_last_month_left_can_be_used_in_this_one(instance: Instance) -> None:
    """Of three requests two were made last month: this month has four, and not one more."""
    budget = Budget("key:rolled:pace", "requests", 3, Window(calendar="month"), match=(("key", "rolled"),))
    counter, this = counter_name(budget, {"tenant": "wide", "key": "rolled"}), part(budget.window, time.time())
    last = part(budget.window, this.bucket - 1)
    assert counter is not None
    row = LedgerRow(request="last-month", attempt=1, at=float(last.bucket), tenant="wide", key="rolled")
    with contextlib.closing(Ledger(instance.state / "ledger.sqlite")) as ledger:
        ledger.record([Settlement(row, (Charge(counter, last.bucket, 2, this.expires_at),))])
    assert statuses(instance, *["rolled"] * 5) == [200, 200, 200, 200, 429]
    shown = quiet_budget(instance, "key:rolled:pace")
    assert (shown["cap"], shown["carried"], shown["settled"], shown["remaining"]) == (4, 1, 4, 0)


def test_a_rolling_window_frees_when_it_was_told(instance: Instance) -> None:
    """Whoever comes back after ``retry-after`` is served; whoever comes at once is not."""

    def refused_when_settled() -> httpx.Response | None:
        """On a machine that stands still three seconds are soon over: then it is used up once more."""
        if ask(instance, "quick").status_code == 200:
            return None
        quiet_budget(instance, "key:quick:pace")
        answer: httpx.Response = ask(instance, "quick")
        return answer if answer.status_code == 429 else None

    assert statuses(instance, "quick", "quick") == [200, 200]
    refused = until(refused_when_settled)
    seconds = int(refused.headers["retry-after"])
    assert 1 <= seconds <= 5
    time.sleep(seconds)
    assert statuses(instance, "quick") == [200]


def leave_before_the_answer(instance: Instance, simulators: Simulators) -> None:
    simulators.faults("two", latency_ms=20_000)
    body = {"model": "there", "messages": HELLO}
    instance.leave(body, lambda: simulators.stats("two")["open_requests"], headers=bearer("alone"))


def leave_amid_the_stream(instance: Instance, simulators: Simulators) -> None:
    simulators.faults("two", tokens=400, inter_token_ms=50)
    body = {"model": "there", "messages": HELLO, "stream": True}
    with instance.http(headers=bearer("alone")) as http, http.stream("POST", CHAT, json=body) as stream:
        next(stream.iter_lines())


def ends_with(model: str = "there", *, stream: bool = False, **faults: Any) -> Callable[[Instance, Simulators], None]:
    def end(instance: Instance, simulators: Simulators) -> None:
        simulators.faults("two", **faults)
        with contextlib.suppress(httpx.RemoteProtocolError):
            ask(instance, "alone", model, stream=stream)

    return end


ENDS: dict[str, Callable[[Instance, Simulators], None]] = {
    "an answer": ends_with(),
    "a stream": ends_with(stream=True),
    "an error": ends_with(status=500),
    "a refusal of the provider": ends_with(status=429),
    "a provider that is not there": ends_with(refuse=True),
    "a provider that hangs": ends_with("brief", hang="forever"),
    "a stream that breaks": ends_with(stream=True, cut_after_tokens=2),
    "an answer that breaks": ends_with(cut_after_tokens=2),
    "a refusal of ours": ends_with("nonsense"),
    "a refusal by another budget": ends_with("rare"),
    "a client that leaves before the answer": leave_before_the_answer,
    "a client that leaves amid the stream": leave_amid_the_stream,
}


@pytest.mark.parametrize("end", ENDS)
def test_a_slot_is_free_again_after_every_end(instance: Instance, simulators: Simulators, end: str) -> None:
    """One request at a time: however it ended, the next one passes within a second or two."""
    ENDS[end](instance, simulators)
    simulators.heal()
    with Stopwatch() as watch:
        until(lambda: ask(instance, "alone").status_code == 200)
    assert watch.seconds < 2
    quiet_budget(instance, "key:alone:slot")


def test_only_so_many_at_once(instance: Instance, simulators: Simulators) -> None:
    """The second one is refused while the first is under way, with a second to come back in."""
    quiet_budget(instance, "key:alone:slot")
    simulators.faults("two", stall_after_tokens=0)
    body = {"model": "there", "messages": HELLO, "stream": True}
    with instance.http(headers=bearer("alone")) as http, http.stream("POST", CHAT, json=body) as first:
        assert first.status_code == 200
        second = ask(instance, "alone")
        assert refusal(second) == (429, "rate_limit_exceeded", "key:alone:slot")
        assert second.headers["retry-after"] == "1"
