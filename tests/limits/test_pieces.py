"""Pictures, sound and videos: what is set aside is what they cost, and where nobody can say that, nothing passes an amount."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.account import Rates
from router_extproc.caller import Caller, Permissions
from router_extproc.decision import Attempt, Decision
from router_extproc.errors import PermissionDeniedError
from router_extproc.limits.bound import Measure, measure
from router_extproc.limits.claims import plan
from router_extproc.limits.pieces import piece_rates
from router_extproc.registry.snapshot import Model, Prices, Tier
from router_extproc.registry.spending import Budget
from router_extproc.request import Request
from tests.limits.cases import NOON, model, registry

IMAGES, EDITS, SPEECH, VIDEOS = "/v1/images/generations", "/v1/images/edits", "/v1/audio/speech", "/v1/videos"
TRANSCRIPTIONS = "/v1/audio/transcriptions"
# Micro-dollars: a picture 40,000; a character 15; a second of sound 100, of a video 100,000.
PRICES = Prices(0.0, 0.0, image=0.04, characters=15.0, audio_minute=0.006, video_second=0.1, by_piece_only=True)
MONEY, TOKENS = Budget("house", "usd", 1_000_000), Budget("words", "tokens", 1_000)


def said(path: str, **body: Any) -> Request:
    return Request(path, "m", body=json.dumps({"model": "m", **body}).encode())


def form(path: str, size: int = 5_000, **fields: str) -> Request:
    return Request(path, "m", form=fields, form_bytes=size)


def cost(request: Request, prices: Prices = PRICES) -> int | None:
    rates = piece_rates(prices, request)
    return None if rates is None else rates.cost(0, 0)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (said(IMAGES, prompt="x"), 40_000),
        (said(IMAGES, prompt="x", n=3), 120_000),
        (said(IMAGES, prompt="x", n="3"), 120_000),
        (said(IMAGES, prompt="x", n=2.5), 120_000),
        (said(IMAGES, prompt="x", n=-3), 40_000),
        (said(IMAGES, prompt="x", n=None), 40_000),
        (said(IMAGES, prompt="x", n="many"), None),
        (said(IMAGES, prompt="x", n=[2]), None),
        (form(EDITS), 40_000),
        (form(EDITS, n="4"), 160_000),
        (said(SPEECH, input="hello"), 75),
        (said(SPEECH, input="héllo…"), 90),
        (said(SPEECH, input=""), 0),
        (said(SPEECH), None),
        (said(SPEECH, input=["hello"]), None),
        (form(SPEECH, input="hello"), None),
        (said(VIDEOS, prompt="x", seconds="8"), 800_000),
        (said(VIDEOS, prompt="x", seconds=4, n=2), 800_000),
        (said(VIDEOS, prompt="x", seconds=4, n_variants=3), 1_200_000),
        (said(VIDEOS, prompt="x", seconds=4, duration=12), 1_200_000),
        (said(VIDEOS, prompt="x", seconds="long"), None),
        (said(VIDEOS, prompt="x"), None),
        (form(VIDEOS, seconds="12"), 1_200_000),
        (form(TRANSCRIPTIONS, 90_000), 9_000),
        (form(TRANSCRIPTIONS, 90_000, url="https://example.com/a.flac"), None),
        (said(TRANSCRIPTIONS, file_url="https://example.com/a.flac"), None),
        (said("/v1/rerank", query="x"), None),
        (Request(IMAGES, "m", body=b"["), None),
    ],
)
def test_the_number_of_pieces_is_what_the_body_says(request_: Request, expected: int | None) -> None:
    """Written in any way that a provider may understand; what may be any number is none."""
    assert cost(request_) == expected


def test_sound_costs_what_its_provider_heard() -> None:
    """Once it is told; before, and where nobody tells, the size of the form bounds it."""
    rates = piece_rates(PRICES, form(TRANSCRIPTIONS, 90_000))
    assert rates == Rates(0, 0, 0, by_piece=True, per_second=100_000_000, most_seconds=90)
    assert rates.cost(0, 0, seconds=9) == 900
    assert rates.cost(500, 500, seconds=0) == 0
    assert rates.cost(0, 0, seconds=None) == 9_000


@pytest.mark.parametrize(
    ("prices", "request_", "expected"),
    [
        (Prices(1.0, 2.0), said(IMAGES), None),
        (Prices(1.0, 2.0, request=0.01), said(IMAGES), 10_000),
        (Prices(0.0, 0.0, request=0.0), said("/v1/rerank"), 0),
        (Prices(0.0, 0.0, request=0.01, image=0.04), said(IMAGES, n=2), 90_000),
        (Prices(0.0, 0.0, request=0.01, image=0.04), said(SPEECH, input="x"), 10_000),
        (Prices(0.0, 0.0, request=0.01, video_second=0.1), said(VIDEOS), None),
        (Prices(0.0, 0.0, request=0.01, audio_minute=0.06), form(TRANSCRIPTIONS, 1_000), 11_000),
        (Prices(0.0, 0.0, image=1e-9), said(IMAGES, n=5), 5),
    ],
)
def test_a_request_may_have_a_price_beside_its_pieces(prices: Prices, request_: Request, expected: int | None) -> None:
    """It is enough where nothing else is priced, and never in place of a number that is not known."""
    assert cost(request_, prices) == expected


@given(st.integers(1, 10_000), st.decimals("0", "100", places=3))
def test_pieces_cost_their_price_each(count: int, price: Any) -> None:
    """In whole micro-dollars, as the decimals say."""
    assert cost(said(IMAGES, n=count), Prices(0.0, 0.0, image=float(price))) == count * int(price * 1_000_000)


def measured(*models: Model, request: Request) -> Measure:
    attempts = tuple(Attempt(one.deployments[0].name, one.name, one.name, one.tier.label) for one in models)
    return measure(request, Decision("m", "ordered", attempts), registry(models=models), bounds=True)


def test_the_dearest_place_is_set_aside_and_no_tokens() -> None:
    """Whichever of the places makes it; tokens are neither set aside nor estimated."""
    cheap, dear = model("a", Tier.ECONOMY, Prices(9.0, 9.0, image=0.02)), model("b", Tier.ECONOMY, PRICES)
    found = measured(cheap, dear, request=said(IMAGES, prompt="x" * 4_000, n=2))
    assert found.is_known
    assert (found.most("usd", None), found.likely("usd")) == (80_000, 40_000)
    assert (found.most("tokens", None), found.likely("tokens"), found.estimate) == (0, 0, (0, 0))
    assert found.requested(None, ["p/a", "p/b"]) == 0
    assert found.writable(100) is None


def test_a_fee_for_each_request_is_paid_beside_tokens() -> None:
    """As of providers that search for every question: it is set aside, and settled, with each answer."""
    fee = model("a", Tier.ECONOMY, Prices(1.0, 1.0, request=0.005))
    free = model("a", Tier.ECONOMY, Prices(1.0, 1.0))
    chat = said("/v1/chat/completions", messages=[{"role": "user", "content": "x"}], max_tokens=10)
    assert measured(fee, request=chat).most("usd", 10) == measured(free, request=chat).most("usd", 10) + 5_000
    rates = measured(fee, request=chat).places[0].rates
    assert rates is not None
    assert rates.cost(10, 10) == 5_020


@pytest.mark.parametrize("budget", [MONEY, TOKENS])
@pytest.mark.parametrize(
    ("prices", "request_"),
    [
        (None, said(IMAGES)),
        (Prices(1.0, 1.0), said(IMAGES)),
        (Prices(1.0, 1.0, image=0.1), said(SPEECH, input="x")),
        (PRICES, said(VIDEOS, prompt="x")),
        (Prices(1.0, 1.0), said("/v1/rerank", query="x")),
    ],
)
def test_what_has_no_price_is_refused_where_an_amount_holds(budget: Budget, prices: Prices | None, request_: Request) -> None:
    """The answer names the budget; who may use whatever is asked for by its path alone may this as well."""
    found = registry(models=[model("m", Tier.ECONOMY, prices)])
    decision = Decision("m", "named", (Attempt("p/m", "m", "m", "economy"),))
    with pytest.raises(PermissionDeniedError, match=f"cannot be held to the budget '{budget.name}'"):
        plan(request_, decision, found, [budget], NOON, reservation="d")
    for harmless in (
        Budget("calls", "requests", 5),
        Budget("house", "usd", 5, mode="observe"),
        Budget("house", "usd", 5, at_cap="allow_and_flag"),
    ):
        plan(request_, decision, found, [harmless], NOON, reservation="d")
    allowed = Request(
        request_.path, "m", body=request_.body, caller=Caller("acme", permissions=Permissions(routes=("m", "path")))
    )
    plan(allowed, decision, found, [budget], NOON, reservation="d")


RESPONSES = "/v1/responses"
SEARCH = {"input": "x", "tools": [{"type": "web_search"}], "max_output_tokens": 10}
TOOLS = Prices(1.0, 1.0, tool_call=0.025)


def test_tools_of_a_provider_are_set_aside_as_often_as_they_may_be_used() -> None:
    """Each use for its price, which is settled, as nobody tells how often it was, and for a window that is read again."""
    found = measured(model("m", Tier.ECONOMY, TOOLS), request=said(RESPONSES, **SEARCH, max_tool_calls=3))
    assert found.is_known
    assert found.most("tokens", 10) == 4 * 128_000 + 10
    assert found.most("usd", 10) == 4 * 128_000 + 10 + 3 * 25_000
    rates = found.places[0].rates
    assert rates is not None
    assert rates.cost(1_000, 10) == 1_010 + 75_000


def test_a_name_that_asks_for_a_search_is_one() -> None:
    """As OpenRouter has it: a caller who may write any name gets no search for nothing."""
    found = registry(models=[model("m", Tier.ECONOMY, TOOLS)])
    chat = said("/v1/chat/completions", messages=[{"role": "user", "content": "x"}], max_tokens=10)
    searching = Decision("m", "named", (Attempt("p/m", "m", "openai/gpt-4o:online", "economy"),))
    asked = measure(chat, searching, found, bounds=True)
    assert (asked.is_known, asked.most("usd", 10)) == (True, 128_000 + 10 + 25_000)
    free = registry(models=[model("m", Tier.ECONOMY, Prices(1.0, 1.0))])
    assert not measure(chat, searching, free, bounds=True).is_known


@pytest.mark.parametrize(
    ("prices", "body", "more"),
    [
        (TOOLS, SEARCH, {}),
        (Prices(1.0, 1.0), {**SEARCH, "max_tool_calls": 3}, {}),
        (TOOLS, {**SEARCH, "max_tool_calls": 3}, {"context_window": None}),
        (Prices(1.0, 1.0), {"input": "x", "previous_response_id": "r"}, {"context_window": None}),
    ],
    ids=["any number", "no price", "no window", "no window to keep"],
)
def test_what_a_provider_adds_without_a_bound_is_refused_where_an_amount_holds(
    prices: Prices, body: dict[str, Any], more: dict[str, Any]
) -> None:
    """Any number of searches, or a conversation of any length, is no amount that could be held to."""
    found = registry(models=[model("m", Tier.ECONOMY, prices, **more)])
    decision = Decision("m", "named", (Attempt("p/m", "m", "m", "economy"),))
    with pytest.raises(PermissionDeniedError, match="cannot be held to the budget 'house'"):
        plan(said(RESPONSES, **body), decision, found, [MONEY], NOON, reservation="d")
    plan(said(RESPONSES, **body), decision, found, [Budget("calls", "requests", 5)], NOON, reservation="d")
    known = registry(models=[model("m", Tier.ECONOMY, TOOLS)])
    plan(said(RESPONSES, **{**body, "max_tool_calls": 1}), decision, known, [MONEY], NOON, reservation="d")


def test_what_is_free_or_only_read_is_not_refused() -> None:
    """Moderations cost nothing anywhere, and reading or removing makes nothing."""
    found = registry(models=[model("m", Tier.ECONOMY, None)])
    decision = Decision("m", "named", (Attempt("p/m", "m", "m", "economy"),))
    for harmless in (said("/v1/moderations", input="x"), Request("/v1/videos/v1", "m", "GET")):
        assert plan(harmless, decision, found, [MONEY], NOON, reservation="d").holds[0].amount == 0
