"""Bounds: no answer that keeps to its limit may cost more than was set aside for it."""

from __future__ import annotations

import json
from decimal import ROUND_CEILING, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from router_extproc.account import Rates
from router_extproc.decision import Attempt, Decision
from router_extproc.facts import Facts
from router_extproc.limits.bound import PROMPT_ALLOWANCE, UNKNOWN_OUTPUT_TOKENS, measure, rates_of
from router_extproc.registry.snapshot import Model, Prices, PriceTier, Registry, Tier
from router_extproc.request import EMBEDDINGS, Request
from router_extproc.router import read_request
from tests.limits.cases import CHEAP, DEAR, MIDDLE, model
from tests.policy import registries as build


def chain(*models: Model, **more: object) -> Decision:
    attempts = tuple(Attempt(one.deployments[0].name, one.name, one.name, one.tier.label) for one in models)
    return Decision("r", "ordered", attempts, **more)  # type: ignore[arg-type]


def asked(**facts: object) -> Request:
    return build.chat("x", analysis=Facts(**{"prompt_tokens": 1_000} | facts))  # type: ignore[arg-type]


def test_rates_are_the_prices_as_they_are_written() -> None:
    """Prices become whole micro-dollars per million tokens by their decimals, not by their binary fractions."""
    prices = Prices(0.15, 0.6, 0.075, tiers=(PriceTier(200_000, 0.3, 1.1, 0.15),))
    assert rates_of(model("m", Tier.ECONOMY, prices)) == Rates(
        150_000, 600_000, 75_000, ((200_000, 300_000, 1_100_000, 150_000),)
    )
    assert rates_of(model("m", Tier.ECONOMY, Prices(1.1, 2.2))) == Rates(1_100_000, 2_200_000, 1_100_000)


def test_rates_below_a_micro_dollar_are_rounded_up_and_negative_ones_are_nothing() -> None:
    """A price too small for the unit still costs; one below zero never pays anybody."""
    assert rates_of(model("m", Tier.ECONOMY, Prices(1e-7, 0))) == Rates(1, 0, 1)
    assert rates_of(model("m", Tier.ECONOMY, Prices(-1.0, 2.0))) == Rates(0, 2_000_000, 0)
    assert rates_of(model("m", Tier.ECONOMY, None)) is None


@given(st.decimals("0", "1000", places=4), st.integers(0, 10**6), st.integers(0, 10**6))
def test_costs_are_those_of_exact_decimals(price: Decimal, prompt: int, completion: int) -> None:
    """A cost in whole micro-dollars is the exact cost rounded up."""
    rates = rates_of(model("m", Tier.ECONOMY, Prices(float(price), float(price))))
    assert rates is not None
    exact = (price * (prompt + completion)).to_integral_value(ROUND_CEILING)
    assert rates.cost(prompt, completion) == exact


def test_the_dearest_place_sets_the_bound() -> None:
    """The bound is that of the dearest member of the chain, wherever it stands, those after a cause of failure included."""
    small, medium, large = model("s", Tier.ECONOMY, CHEAP), model("m", Tier.STANDARD, MIDDLE), model("l", Tier.PREMIUM, DEAR)
    registry = build.registry(small, medium, large)
    only = measure(asked(max_output_tokens=100), chain(small), registry).most("usd", None)
    both = measure(asked(max_output_tokens=100), chain(small, medium), registry).most("usd", None)
    after = replace(chain(small), cause_chains={"server_error": chain(large).chain})
    all_three = measure(asked(max_output_tokens=100), after, registry).most("usd", None)
    prompt = 1_200 + PROMPT_ALLOWANCE
    assert only == -(-(prompt * 500_000 + 100 * 1_000_000) // 10**6)
    assert both == prompt * 2 + 100 * 8
    assert all_three == prompt * 10 + 100 * 40


def test_answers_that_may_be_turned_down_are_counted_each() -> None:
    """Where answers are judged, the bound is the sum of the dearest places that may be paid, as many as may be tried."""
    small, medium, large = model("s", Tier.ECONOMY, CHEAP), model("m", Tier.STANDARD, MIDDLE), model("l", Tier.PREMIUM, DEAR)
    registry = build.registry(small, medium, large)
    judged = chain(small, medium, large, check_answer=True, max_attempts=2)
    found = measure(asked(max_output_tokens=100), judged, registry)
    assert found.most("tokens", None) == 2 * (1_200 + PROMPT_ALLOWANCE + 100)
    assert found.most("usd", None) == measure(asked(max_output_tokens=100), chain(large), registry).most("usd", None) + measure(
        asked(max_output_tokens=100), chain(medium), registry
    ).most("usd", None)


@pytest.mark.parametrize(
    ("decided", "answers"),
    [
        ({"attempt_timeout_ms": 10_000, "deadline_ms": 60_000}, 3),
        ({"attempt_timeout_ms": 10_000, "deadline_ms": 60_000, "max_attempts": 2}, 2),
        ({"attempt_timeout_ms": 10_000, "deadline_ms": 15_000}, 2),
        ({"attempt_timeout_ms": 10_000, "deadline_ms": 10_000}, 1),
        ({"attempt_timeout_ms": None}, 1),
        ({"attempt_timeout_ms": 10_000, "stream": True}, 1),
    ],
    ids=str,
)
def test_attempts_that_may_run_out_of_time_are_counted_each(decided: dict[str, object], answers: int) -> None:
    """A provider that was given up may bill the whole answer that it was making: as many as fit into the deadline."""
    one, two, three = (model(name, Tier.STANDARD, MIDDLE) for name in ("one", "two", "three"))
    found = measure(asked(max_output_tokens=100), chain(one, two, three, **decided), build.registry(one, two, three))
    assert found.most("tokens", None) == answers * (1_200 + PROMPT_ALLOWANCE + 100)


@given(
    windows=st.lists(
        st.tuples(st.integers(1, 5_000), st.floats(0.3, 3.0), st.sampled_from([CHEAP, MIDDLE, DEAR])), min_size=1, max_size=4
    ),
    attempts=st.integers(1, 4),
    judged=st.booleans(),
    prompt=st.integers(0, 5_000),
)
def test_what_is_estimated_for_lost_answers_fits_what_is_set_aside(
    windows: list[tuple[int, float, Prices]], attempts: int, prompt: int, *, judged: bool
) -> None:
    """However many answers are lost, and wherever: their estimates together are no more than the bound."""
    models = [
        model(f"m{number}", Tier.STANDARD, prices, output_limit=limit) for number, (limit, _, prices) in enumerate(windows)
    ]
    ratios = {f"m{number}": ratio for number, (_, ratio, _) in enumerate(windows)}
    decided = chain(*models, check_answer=judged, attempt_timeout_ms=1_000, deadline_ms=60_000, max_attempts=attempts)
    found = measure(asked(max_output_tokens=None, prompt_tokens=prompt), decided, build.registry(*models), ratios)
    costs = sorted((place.rates.cost(*found.estimate) for place in found.places if place.rates is not None), reverse=True)
    assert sum(costs[: min(attempts, len(models))]) <= found.most("usd", None)
    assert sum(found.estimate) * min(attempts, len(models)) <= found.most("tokens", None)


def in_the_background(**body: object) -> Request:
    written = {"model": "m", "input": "hi", "background": True, "max_output_tokens": 300} | body
    return read_request("POST", "/v1/responses", {"content-type": "application/json"}, json.dumps(written).encode())


def test_what_is_made_in_the_background_is_settled_as_it_was_set_aside() -> None:
    """Nobody here learns what it used: the bound of any place is what will be settled, where a budget rests on bounds."""
    known = model("gpt-4o", Tier.ECONOMY, CHEAP, output_limit=200)
    unknown = model("mystery", Tier.PREMIUM, DEAR, output_limit=4_000)
    registry = build.registry(known, unknown)
    found = measure(in_the_background(), chain(known, unknown), registry, bounds=True)
    longest = max(place.most_prompt_tokens for place in found.places)
    assert found.estimate == (longest, 300)
    assert found.most("tokens", None) == longest + 300
    costs = [place.rates.cost(*found.estimate) for place in found.places if place.rates is not None]
    assert max(costs) == found.most("usd", None)
    likely = measure(in_the_background(), chain(known, unknown), registry)
    assert likely.estimate < found.estimate
    waited_for = measure(in_the_background(background=False), chain(known, unknown), registry, bounds=True)
    assert waited_for.estimate == likely.estimate


def test_a_silent_stream_in_the_background_may_bill_a_whole_answer() -> None:
    """Its provider goes on when it is given up before its first event."""
    one, two = model("one", Tier.STANDARD, MIDDLE), model("two", Tier.STANDARD, MIDDLE)
    decided = chain(one, two, stream=True, first_token_timeout_ms=500)
    found = measure(in_the_background(stream=True), decided, build.registry(one, two), bounds=True)
    assert found.most("tokens", None) >= 2 * sum(found.estimate)


def test_streams_that_may_stay_silent_are_counted_by_their_prompt() -> None:
    """Each that is given up before its first token may bill what it read; one of them answers."""
    one, two, three = (model(name, Tier.STANDARD, MIDDLE) for name in ("one", "two", "three"))
    decided = chain(one, two, three, stream=True, first_token_timeout_ms=500)
    found = measure(asked(max_output_tokens=100), decided, build.registry(one, two, three))
    assert found.most("tokens", None) == 3 * (1_200 + PROMPT_ALLOWANCE) + 100


@pytest.mark.parametrize(
    ("wish", "limit", "model_limit", "window", "expected"),
    [
        (100, None, 4_000, 128_000, 100),
        (100, 50, 4_000, 128_000, 50),
        (None, None, 4_000, 128_000, 4_000),
        (None, 500, 4_000, 128_000, 500),
        (9_000, None, 4_000, 128_000, 4_000),
        (None, None, None, 2_000, 2_000),
        (None, None, None, None, UNKNOWN_OUTPUT_TOKENS),
    ],
)
def test_an_answer_is_as_long_as_its_lowest_limit(
    *, wish: int | None, limit: int | None, model_limit: int | None, window: int | None, expected: int
) -> None:
    """The answer is bounded by the lowest of the caller's limit, the one that is set and the model's own."""
    one = model("m", Tier.STANDARD, MIDDLE, output_limit=model_limit, context_window=window)
    found = measure(asked(max_output_tokens=wish), chain(one), build.registry(one))
    assert found.most("tokens", limit) == 1_200 + PROMPT_ALLOWANCE + expected


def test_several_answers_are_paid_for_each() -> None:
    """A request for three answers may use three times the limit of one."""
    one = model("m", Tier.STANDARD, MIDDLE)
    found = measure(asked(max_output_tokens=100, choices=3), chain(one), build.registry(one))
    assert found.most("tokens", None) == 1_200 + PROMPT_ALLOWANCE + 300


def test_embeddings_have_no_answer_and_files_no_tokens() -> None:
    """What is embedded costs its prompt alone; what is not priced by tokens is counted as a request and costs nothing."""
    one = model("m", Tier.STANDARD, MIDDLE)
    registry = build.registry(one)
    embedded = measure(replace(asked(max_output_tokens=100), path=EMBEDDINGS), chain(one), registry)
    assert embedded.most("tokens", None) == 1_200 + PROMPT_ALLOWANCE
    filed = measure(replace(asked(), path="/v1/images/generations"), chain(one), registry)
    assert (filed.most("usd", None), filed.most("tokens", None), filed.most("requests", None)) == (0, 0, 1)


def test_text_that_repeats_itself_is_not_counted_too_low() -> None:
    """A tokenizer may pack repeated characters tightly; another would not, so characters set a floor."""
    one = model("m", Tier.STANDARD, MIDDLE)
    found = measure(asked(prompt_tokens=10, characters=40_000, max_output_tokens=1), chain(one), build.registry(one))
    assert found.most("tokens", None) >= 10_000


def test_learned_ratios_raise_the_bound_of_their_model() -> None:
    """A model known to count more tokens than are estimated is bounded by what it counts; pictures are left as they are."""
    one = model("m", Tier.STANDARD, MIDDLE)
    registry, ratios = build.registry(one), {"m": 1.5}
    assert measure(asked(max_output_tokens=1), chain(one), registry, ratios).places[0].prompt_tokens == 1_800 + PROMPT_ALLOWANCE
    pictured = asked(max_output_tokens=1, needs=frozenset({"vision"}))
    assert measure(pictured, chain(one), registry, ratios).places[0].prompt_tokens == 1_200 + PROMPT_ALLOWANCE


def test_a_wildcard_models_price_is_found_by_its_deployment() -> None:
    """A model that only a wildcard matches has the wildcard's price."""
    wide = Model("gpt-*", Tier.STANDARD, 0.5, (build.deployment("p/gpt", "gpt-*", provider_model="gpt-*"),), prices=MIDDLE)
    decision = Decision("gpt-x", "named", (Attempt("p/gpt", "gpt-x", "gpt-x", "standard"),))
    found = measure(asked(max_output_tokens=1), decision, Registry(models={"gpt-*": wide}))
    assert found.places[0].rates == Rates(2_000_000, 8_000_000, 2_000_000)
    assert found.places[0].model == "gpt-x"


@pytest.mark.parametrize(
    ("wish", "limit", "expected"),
    [
        (None, 500, 500),  # nobody said anything
        (100, 500, None),  # the caller's own is lower
        (900, 500, 500),
        (None, 9_000, None),  # every model keeps to less by itself
        (None, 4_000, None),
    ],
)
def test_a_limit_is_written_only_where_the_body_needs_it(wish: int | None, limit: int, expected: int | None) -> None:
    """A body that already keeps to the limit stays as it is."""
    one = model("m", Tier.STANDARD, MIDDLE)
    assert measure(asked(max_output_tokens=wish), chain(one), build.registry(one)).writable(limit) == expected


def test_no_limit_is_written_that_a_place_of_the_chain_refuses() -> None:
    """A provider refuses a limit above its model's own, or above what the prompt leaves of its window."""
    wide, low = model("w", Tier.STANDARD, MIDDLE, output_limit=16_000), model("l", Tier.STANDARD, MIDDLE, output_limit=2_000)
    assert measure(asked(), chain(wide, low), build.registry(wide, low)).writable(8_000) == 2_000
    narrow = model("n", Tier.STANDARD, MIDDLE, output_limit=None, context_window=2_000)
    assert measure(asked(), chain(narrow), build.registry(narrow)).writable(1_500) == 2_000 - 1_200 - PROMPT_ALLOWANCE


tiers = st.lists(
    st.builds(PriceTier, st.integers(100, 10_000), st.floats(0, 50), st.floats(0, 50), st.none() | st.floats(0, 50)), max_size=2
).map(lambda found: tuple(sorted(found, key=lambda one: one.above_tokens)))
prices = st.builds(Prices, st.floats(0, 100), st.floats(0, 100), st.none() | st.floats(0, 100), tiers=tiers)


@given(
    found=st.lists(prices, min_size=1, max_size=3),
    prompt=st.integers(0, 20_000),
    wish=st.none() | st.integers(1, 10_000),
    limit=st.none() | st.integers(1, 10_000),
    answers=st.integers(1, 3),
    data=st.data(),
)
def test_nothing_that_keeps_to_its_limits_costs_more_than_its_bound(
    *, found: list[Prices], prompt: int, wish: int | None, limit: int | None, answers: int, data: st.DataObject
) -> None:
    """Whichever place answers, with whatever share of the prompt cached, the cost and the tokens are within the bound."""
    models = [model(f"m{index}", Tier.STANDARD, one, f"p{index}") for index, one in enumerate(found)]
    request = asked(prompt_tokens=prompt, max_output_tokens=wish, choices=answers)
    measured = measure(request, chain(*models), build.registry(*models))
    place = data.draw(st.sampled_from(measured.places))
    longest = min(one for one in (wish, limit, 4_000) if one is not None)
    sent = data.draw(st.integers(0, place.prompt_tokens))
    cached = data.draw(st.integers(0, sent))
    completion = data.draw(st.integers(0, longest * answers))
    assert place.rates is not None
    assert place.rates.cost(sent, completion, cached) <= measured.most("usd", limit)
    assert sent + completion <= measured.most("tokens", limit)
    # The highest limit that fits is found, and no higher one fits.
    room = data.draw(st.integers(0, measured.most("usd", limit) + 10))
    fitting = measured.longest_answer("usd", room, measured.longest_wish)
    if fitting:
        assert measured.most("usd", fitting) <= room
    if fitting < measured.longest_wish:
        assert measured.most("usd", fitting + 1) > room


def test_the_likely_amount_is_that_of_the_first_place_without_a_margin() -> None:
    """A prediction is the estimated prompt and the likely answer at the price of the place that is tried first."""
    small, large = model("s", Tier.ECONOMY, CHEAP), model("l", Tier.PREMIUM, DEAR)
    request = asked(answer_tokens=200)
    found = measure(request, chain(small, large), build.registry(small, large), predicts=True)
    assert found.likely("tokens") == 1_200
    assert found.likely("usd") == -(-(1_000 * 500_000 + 200 * 1_000_000) // 10**6)
    assert measure(request, chain(small), build.registry(small)).likely("tokens") == 1_400
