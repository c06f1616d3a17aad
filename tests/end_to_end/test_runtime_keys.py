"""Keys made while the router runs, as their user meets them: what the commands print, the SDK raises, and the log says."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.end_to_end.running import HELLO, Instance, Simulators, until
from tests.end_to_end.spending import command, settled
from tests.end_to_end.stopwatch import Stopwatch

pytestmark = [pytest.mark.end_to_end, pytest.mark.soak, pytest.mark.usefixtures("healed")]

SIMULATED: dict[str, dict[str, Any]] = {"here": {}, "abroad": {}}
TOOLS: Any = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]
FACTS = "capabilities: [tools], context_window: 100000, output_limit: 2000, prices: {input: 1, output: 2}"
# Nothing is said of auth: on loopback everybody may call until there is a key.
CONFIGURATION = f"""
providers:
  here: {{base_url: $here/v1, region: eu}}
  abroad: {{base_url: $abroad/v1, region: us}}
models:
  small: {{tier: economy, {FACTS}, deployments: [{{provider: here}}]}}
  large: {{tier: premium, {FACTS}, deployments: [{{provider: here}}]}}
  both: {{tier: economy, {FACTS}, deployments: [{{provider: here}}, {{provider: abroad}}]}}
  distant: {{tier: economy, {FACTS}, deployments: [{{provider: abroad}}]}}
routes:
  support: {{targets: [small]}}
  research: {{targets: [large]}}
loop_guard: {{mode: enforce, repeats: 1000, steps: 10, usd: 1}}
"""


@pytest.fixture(scope="module")
def first(instance: Instance) -> dict[str, Any]:
    """The first key of the instance, made as in the quick start: with a budget, for a tenant that nobody knows yet."""
    assert instance.ask("small").status_code == 200, "without a key everybody on this machine may call"
    made: dict[str, Any] = command(instance, "keys", "create", "--tenant", "acme", "--budget-usd", "0.50", "--window", "month")
    return made


@pytest.fixture
def sdk(instance: Instance) -> Iterator[Any]:
    """Makes a key with these options and gives the official SDK with it."""
    clients = []

    def make(*options: str) -> openai.OpenAI:
        key = command(instance, "keys", "create", "--tenant", "acme", *options)["key"]
        clients.append(instance.client(api_key=key))
        until_known(clients[-1])
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def knows(client: openai.OpenAI) -> bool:
    try:
        client.models.list()
    except openai.AuthenticationError:
        return False
    return True


def until_known(client: openai.OpenAI) -> None:
    """A key that was made is known within a second."""
    with Stopwatch() as watch:
        until(lambda: knows(client))
    assert watch.seconds < 1


def ask(client: openai.OpenAI, model: str = "small", **more: Any) -> Any:
    return client.chat.completions.with_raw_response.create(model=model, messages=HELLO, max_tokens=5, **more)  # type: ignore[arg-type]


def test_a_key_and_its_budget_are_told_as_promised(instance: Instance, first: dict[str, Any]) -> None:
    """The members of ``keys create`` and ``budgets show``, money as decimal text; the sums are those of the key's budget."""
    assert {"id", "key", "tenant", "budgets"} <= first.keys()
    assert first["key"].startswith(f"sk-router-{first['id']}.")
    assert first["tenant"] == "acme"
    [budget] = first["budgets"]
    assert (budget["cap_usd"], budget["window"]) == ("0.500000", "month")
    with instance.client(api_key=first["key"]) as client:
        until_known(client)
        answer = ask(client)
    usage = json.loads(answer.content)["usage"]
    cost = usage["prompt_tokens"] + 2 * usage["completion_tokens"]
    assert answer.headers["x-router-budget-remaining"].startswith("0.499")
    shown = settled(instance, "acme")
    assert shown["tenant"] == "acme"
    assert (shown["reserved_usd"], shown["settled_usd"]) == ("0.000000", f"0.{cost:06}")
    assert shown["remaining_usd"] == f"0.{500_000 - cost:06}"
    [budget] = [one for one in shown["budgets"] if one["cap_usd"] == "0.500000"]
    assert {"name", "scope", "window", "cap_usd", "reserved_usd", "settled_usd", "remaining_usd", "resets_at"} <= budget.keys()
    assert first["id"] in budget["scope"]


@pytest.mark.parametrize("key", ["none", "sk-router-aaaaaaaaaaaaaaaa.nonsense", "sk-proj-of-the-provider"])
@pytest.mark.usefixtures("first")
def test_since_then_nobody_else_may_call(instance: Instance, simulators: Simulators, key: str) -> None:
    """401 with OpenAI's code, on every path, and no provider hears of it."""
    with instance.client(api_key=key) as client:
        for call in (lambda: ask(client), client.models.list, lambda: client.embeddings.create(model="small", input="A")):
            with pytest.raises(openai.AuthenticationError) as refused:
                call()
            assert refused.value.code == "invalid_api_key"
    assert simulators.asked() == {}


@pytest.mark.usefixtures("first")
def test_an_expired_key_is_worth_nothing(instance: Instance, sdk: Any) -> None:
    """From its last second on; the commands say that it has expired."""
    ends = time.time() + 5
    client = sdk("--expires", "5s")
    assert ask(client).status_code == 200
    until(lambda: not knows(client))
    assert time.time() >= ends - 1
    states = {key["state"] for key in command(instance, "keys", "list", "--tenant", "acme")["keys"]}
    assert "expired" in states


@pytest.mark.usefixtures("first")
@pytest.mark.parametrize(
    ("options", "allowed", "refused"),
    [
        (("--models", "small"), ["small", "support"], ["large", "research", "distant"]),
        (("--routes", "support"), ["support"], ["research", "small", "auto"]),
        (("--tiers", "economy"), ["small", "support"], ["large", "research"]),
        (("--regions", "eu"), ["small", "large", "both"], ["distant"]),
    ],
    ids=["models", "routes", "tiers", "regions"],
)
def test_what_a_key_may_not_use_is_a_403(
    sdk: Any, simulators: Simulators, options: tuple[str, str], allowed: list[str], refused: list[str]
) -> None:
    """In the SDK's own exception; what is listed is what may be used, and a region that is not allowed hears nothing."""
    client: openai.OpenAI = sdk(*options)
    simulators.heal()
    for model in allowed:
        assert ask(client, model).status_code == 200
    for model in refused:
        with pytest.raises(openai.PermissionDeniedError) as error:
            ask(client, model)
        assert error.value.status_code == 403
        assert error.value.body.keys() == {"message", "type", "param", "code"}  # type: ignore[attr-defined]
    listed = {model.id for model in client.models.list()}
    assert set(allowed) <= listed
    assert not set(refused) & listed
    if "eu" in options:
        assert "abroad" not in simulators.asked()


@pytest.mark.usefixtures("first")
def test_nobody_becomes_another_by_headers(instance: Instance) -> None:
    """What a client says about tenant, team, user, tags and proofs changes neither who pays nor what the log says."""
    made = command(
        instance, "keys", "create", "--tenant", "honest", "--team", "red", "--user", "ann", "--tag", "project=apollo",
        "--features", "beta,search", "--budget-usd", "1", "--window", "month",
    )  # fmt: skip
    claims = {
        "x-router-tenant": "acme",
        "x-router-team": "blue",
        "x-router-user": "bob",
        "x-router-tags": "project=gemini",
        "x-router-peer": "spiffe://cluster/acme",
        "x-router-jwt": "eyJ0ZW5hbnQiOiJhY21lIn0",
    }
    headers = {"authorization": f"Bearer {made['key']}"}
    until(lambda: instance.ask("small", headers=headers).status_code == 200, seconds=1)
    answer = instance.ask("small", headers={**headers, **claims})
    caller = instance.access_line(answer.headers["x-router-decision"])["caller"]
    assert caller["tenant"] == "honest"
    assert (caller["team"], caller["user"], caller["key"]) == ("red", "ann", made["id"])
    assert caller["features"] == ["beta", "search"]
    assert caller["tags"] == {"project": "apollo"}
    assert settled(instance, "honest")["settled_usd"] != "0.000000"


@pytest.mark.usefixtures("first")
def test_a_session_is_stopped_for_its_steps(sdk: Any, simulators: Simulators) -> None:
    """Ten different steps: the eighth is warned, the ninth is asked to sum up without tools, the eleventh is stopped."""
    client: openai.OpenAI = sdk()
    simulators.heal()
    reasons = []
    for step in range(10):
        said: Any = [{"role": "user", "content": f"Now read chapter {step}."}]
        answer = client.chat.completions.with_raw_response.create(
            model="small", messages=said, max_tokens=5, tools=TOOLS, extra_headers={"x-router-session": "long"}
        )
        reasons.append(answer.headers["x-router-reason"])
    assert reasons == ["named"] * 7 + ["named+loop-warned"] + ["named+loop-summary"] * 2
    assert ["tools" in body for body in simulators.bodies("here")] == [True] * 8 + [False] * 2
    with pytest.raises(openai.RateLimitError) as stopped:
        ask(client, extra_headers={"x-router-session": "long"})
    assert stopped.value.code == "loop_stopped"
    assert "more steps than it may" in stopped.value.message
    assert stopped.value.response.headers["x-should-retry"] == "false"
    assert ask(client, extra_headers={"x-router-session": "another"}).status_code == 200
