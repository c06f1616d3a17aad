"""A cause that has an answer of its own: where a 429, a 5xx and a prompt that is too long go next, and how each ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import openai
import pytest

from tests.end_to_end.running import HELLO, Instance, Simulators, running

pytestmark = pytest.mark.end_to_end

PROVIDERS = ("first", "next", "roomy", "spare", "other")

LIMITED = {"status": 429, "retry_after": 11}
BROKEN = {"status": 503}
TOO_LONG = {"context_length_exceeded": True}
GONE = {"refuse": True}
RESET = {"refuse": True, "times": 1}


class Case(NamedTuple):
    """What the providers do, who is then asked in which order, why each attempt failed, and what the client gets."""

    faults: dict[str, dict[str, Any]]
    asked: tuple[str, ...]
    causes: tuple[str, ...]
    status: int = 200


CASES = {
    "limited": Case({"first": LIMITED}, ("first", "spare"), ("rate_limited",)),
    "broken": Case({"first": BROKEN}, ("first", "other"), ("server_error",)),
    "too-long": Case({"first": TOO_LONG}, ("first", "roomy"), ("context_length",)),
    # Nobody said why: the route's own chain goes on.
    "gone": Case({"first": GONE}, ("first", "next"), ("connect_failure",)),
    "reset": Case({"first": RESET}, ("first", "next"), ("reset",)),
    # Each failure is followed for its own cause, whatever came before.
    "limited-broken": Case({"first": LIMITED, "spare": BROKEN}, ("first", "spare", "other"), ("rate_limited", "server_error")),
    "broken-too-long": Case(
        {"first": BROKEN, "other": TOO_LONG}, ("first", "other", "roomy"), ("server_error", "context_length")
    ),
    "gone-limited": Case({"first": GONE, "next": LIMITED}, ("first", "next", "spare"), ("connect_failure", "rate_limited")),
    "all-three": Case(
        {"first": LIMITED, "spare": BROKEN, "other": TOO_LONG},
        ("first", "spare", "other", "roomy"),
        ("rate_limited", "server_error", "context_length"),
    ),
    # A cause's chain stands instead of the rest of the route's: where it ends, the last provider has the last word.
    "limited-limited": Case(
        {"first": LIMITED, "spare": LIMITED}, ("first", "spare"), ("rate_limited", "rate_limited"), status=429
    ),
    "broken-broken": Case({"first": BROKEN, "other": BROKEN}, ("first", "other"), ("server_error", "server_error"), status=503),
    "limited-gone": Case(
        {"first": LIMITED, "spare": GONE}, ("first", "spare"), ("rate_limited", "connect_failure", "not_sent"), status=503
    ),
    "too-long-too-long": Case(
        {"first": TOO_LONG, "roomy": TOO_LONG}, ("first", "roomy"), ("context_length", "client_error"), status=400
    ),
}

HEAD = "cooling: {failures: 1000000, window: 1ms}\nproviders:\n" + "".join(
    f"  {name}: {{base_url: ${name}/v1}}\n" for name in PROVIDERS
)

ROUTE = """
  CASE:
    targets: [first.CASE, next.CASE]
    same_tier: false
    after: {rate_limited: [spare.CASE], server_error: [other.CASE], context_length: [roomy.CASE]}
"""

PLAIN_ROUTES = """
  one-place: {targets: [first.rest], same_tier: false}
  two-places: {targets: [next.rest, first.rest], same_tier: false}
  one-attempt:
    targets: [first.rest, next.rest]
    after: {rate_limited: [spare.rest], context_length: [roomy.rest]}
    retry: {max_attempts: 1}
"""


OTHERS = ("rest", "rest.plain", "rest.stream")


def configuration() -> str:
    """Each case has deployments of its own, because a 429 makes them rest; all lead to the same five providers."""
    cases = [f"{case}.{kind}" for case in CASES for kind in ("plain", "stream")]
    models = [f"  {name}.{case}: {{deployments: [{{provider: {name}}}]}}\n" for case in (*cases, *OTHERS) for name in PROVIDERS]
    routes = [ROUTE.replace("CASE", case) for case in cases]
    return "".join((HEAD, "models:\n", *models, "routes:\n", *routes, PLAIN_ROUTES))


@pytest.fixture(scope="module")
def simulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulators]:
    started = Simulators(tmp_path_factory.mktemp("simulators"), {name: {} for name in PROVIDERS})
    yield started
    started.stop()


@pytest.fixture(scope="module")
def instance(simulators: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with running(Instance(tmp_path_factory.mktemp("instance"), simulators.fill(configuration()))) as started:
        yield started


@pytest.fixture(autouse=True)
def _healthy(simulators: Simulators) -> None:
    simulators.heal()


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("name", CASES)
def test_each_cause_goes_its_own_way(instance: Instance, simulators: Simulators, name: str, *, stream: bool) -> None:
    """A 429, a 5xx and a 400 for context length lead where the route says for that cause, at every attempt anew."""
    case = CASES[name]
    for provider, faults in case.faults.items():
        simulators.faults(provider, **faults)
    route = f"{name}.{'stream' if stream else 'plain'}"
    answer = instance.ask(route, stream=stream)
    assert answer.status_code == case.status, answer.text
    assert answer.headers["x-router-attempts"] == str(len(case.asked))
    assert answer.headers["x-router-model"] == f"{case.asked[-1]}.{route}"
    assert answer.headers["x-router-fallback-from"] == f"first/first.{route}"
    record = instance.decision(answer.headers["x-router-decision"])
    attempts = record["attempts"]
    sent = [attempt["deployment"] for attempt in attempts if attempt["cause"] != "not_sent"]
    assert sent == [f"{asked}/{asked}.{route}" for asked in case.asked]
    assert [attempt["cause"] for attempt in attempts] == [*case.causes, *(["none"] if case.status == 200 else [])]


def check_last_word(error: openai.APIStatusError, simulators: Simulators, provider: str) -> None:
    """The body is the provider's own, byte for byte but for what differs from request to request."""
    assert error.response.json() == simulators.own_answer(provider)
    assert error.response.headers["content-type"] == "application/json"


@pytest.mark.parametrize("route", ["one-place", "two-places", "one-attempt"])
def test_the_last_400_for_context_length_stands(instance: Instance, simulators: Simulators, route: str) -> None:
    """Where nothing is left to try, the client reads which limit its prompt went over, in the provider's own words."""
    simulators.faults("first", **TOO_LONG)
    simulators.faults("next", **TOO_LONG)
    with instance.client() as client, pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=route, messages=HELLO)  # type: ignore[call-overload]
    assert caught.value.code == "context_length_exceeded"
    check_last_word(caught.value, simulators, "first")


def test_a_400_for_context_length_without_a_chain_of_its_own_follows_the_routes(
    instance: Instance, simulators: Simulators
) -> None:
    """The next place of the route may have a larger window: it is asked."""
    simulators.faults("next", **TOO_LONG)
    answer = instance.ask("two-places")
    assert (answer.status_code, answer.headers["x-router-deployment"]) == (200, "first/first.rest")


@pytest.mark.parametrize("code", [None, "invalid_value", "content_policy_violation"])
def test_any_other_400_is_the_callers(instance: Instance, simulators: Simulators, code: str | None) -> None:
    """A 400 that speaks of something else is the same everywhere and goes to the client at once."""
    simulators.faults("next", status=400, error_code=code)
    answer = instance.ask("two-places")
    assert (answer.status_code, answer.headers["x-router-attempts"]) == (400, "1")
    assert simulators.asked() == {"next": 1}


def test_the_last_5xx_stands(instance: Instance, simulators: Simulators) -> None:
    """A 529 of an overloaded provider reaches the client as such, with its time to wait."""
    simulators.faults("first", status=529, retry_after=3)
    with instance.client() as client, pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="one-place", messages=HELLO)  # type: ignore[call-overload]
    assert (caught.value.status_code, caught.value.response.headers["retry-after"]) == (529, "3")
    check_last_word(caught.value, simulators, "first")


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_the_last_429_stands(instance: Instance, simulators: Simulators, *, stream: bool) -> None:
    """The client is told to wait by the provider itself: status, body, retry-after and what is left of its limit."""
    simulators.faults("first", **LIMITED)
    model = f"first.rest.{'stream' if stream else 'plain'}"
    with instance.client() as client, pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model=model, messages=HELLO, stream=stream)  # type: ignore[call-overload]
    headers = caught.value.response.headers
    assert (headers["retry-after"], headers["retry-after-ms"], headers["x-ratelimit-remaining-requests"]) == (
        "11",
        "11000",
        "0",
    )
    check_last_word(caught.value, simulators, "first")
