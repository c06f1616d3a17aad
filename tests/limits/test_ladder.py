"""The ladder: what follows when a budget is near its cap, has no room, or only watches."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from router_extproc.errors import LimitReachedError
from router_extproc.limits.ladder import Again, Proceed, Refuse, next_step
from router_extproc.registry.snapshot import Plan, Route, Tier
from router_extproc.registry.spending import Budget, LoopGuard, Raise, Spending, Window
from router_extproc.request import Request
from router_extproc.store.counters import Level, Verdict
from tests.limits.cases import DEAR, NOON, claim, decide, model, registry, request, walk
from tests.limits.ladders import BEST, DAY, go, spent, usd
from tests.limits.model_store import ModelStore

MINUTE = Window(rolling_seconds=60)


@pytest.mark.parametrize(("used", "tier"), [(0, "premium"), (8_999_999, "premium"), (9_000_000, "standard")])
def test_from_its_share_on_a_cheaper_tier_answers(used: int, tier: str) -> None:
    """Below the share the model is the usual one; at exactly 90 % the next cheaper tier answers, and the reason says why."""
    step, decision = go(usd(10_000_000), used=used)
    assert isinstance(step, Proceed)
    assert decision.chain[0].tier == tier
    assert step.reasons == (() if tier == "premium" else ("budget-downgrade:daily",))


def test_shares_are_decimals() -> None:
    """A share such as 0.29 of a hundred is twenty-nine, which binary fractions miss."""
    assert go(usd(10_000_000, downgrade_at=0.29), used=2_900_000)[1].chain[0].tier == "standard"
    assert go(usd(10_000_000, downgrade_at=0.29), used=2_899_999)[1].chain[0].tier == "premium"
    assert go(usd(10_000_000, downgrade_at=None), used=9_500_000)[1].chain[0].tier == "premium"


def test_what_was_set_aside_for_the_dearer_model_is_given_back() -> None:
    """After a downgrade only what the cheaper model may cost stays set aside."""
    store = spent(ModelStore(), "usd:daily", 9_000_000)
    step, _ = walk(registry(usd(10_000_000)), BEST, store)
    assert isinstance(step, Proceed)
    assert store.held == {("r-1", "usd:daily"): step.account.held[0].amount}
    assert step.account.held[0].amount < 1_000 * 40


def test_who_asks_for_one_model_by_name_gets_it_to_the_end() -> None:
    """A model that may not be replaced is not: it answers up to the cap."""
    step, decision = go(usd(10_000_000), asked=request("large"), used=9_500_000)
    assert isinstance(step, Proceed)
    assert (decision.chain[0].model, step.reasons) == ("large", ())


def test_a_safety_critical_route_is_never_downgraded() -> None:
    """Where a weaker answer may do harm, a budget refuses rather than take it."""
    safe = Route("safe", Plan("best"), safety_critical=True)
    asked = request("safe")
    step, decision = walk(registry(usd(10_000_000), safe=safe), asked, spent(ModelStore(), "usd:daily", 9_500_000))
    assert isinstance(step, Proceed)
    assert decision.chain[0].tier == "premium"
    step, _ = walk(registry(usd(10_000_000), safe=safe), asked, spent(ModelStore(), "usd:daily", 9_999_000))
    assert isinstance(step, Refuse)


@pytest.mark.parametrize(
    ("asked", "tier"),
    [
        (request("auto", adequacy=(0.9, 0.95, 0.99), risk="medical"), "premium"),
        (request("auto", adequacy=(0.1, 0.2, 0.9), risk="none"), "standard"),
        (replace(BEST, headers={"x-router-min-tier": "premium"}), "premium"),
        (replace(BEST, headers={"x-router-min-tier": "economy"}), "standard"),
    ],
)
def test_a_floor_holds_against_every_budget(asked: Request, tier: str) -> None:
    """A risk and a tier that is asked for are floors: a budget does not go below them."""
    assert go(usd(10_000_000), asked=asked, used=9_500_000)[1].chain[0].tier == tier


def test_an_answer_becomes_as_long_as_the_rest_allows() -> None:
    """Where the bound does not fit but a useful answer does, its limit is lowered to exactly what remains."""
    step, decision = go(usd(1_000_000, downgrade_at=None), used=1_000_000 - 30_000)
    assert isinstance(step, Proceed)
    assert decision.chain[0].tier == "premium"
    assert step.reasons == ("max-tokens-lowered:daily",)
    prompt = 1_216 * 10
    assert step.max_output_tokens == (30_000 - prompt) // 40
    assert step.figures.remaining_micro_usd == (30_000 - prompt) % 40


@pytest.mark.parametrize(("rest", "fits"), [(1_216 * 10 + 64 * 40, True), (1_216 * 10 + 64 * 40 - 1, False)])
def test_an_answer_too_short_to_be_of_use_is_none(rest: int, fits: bool) -> None:  # noqa: FBT001 - the expectation
    """An answer of 64 tokens is of use, one of 63 is not: then the request is refused."""
    step, _ = go(usd(1_000_000, downgrade_at=None), used=1_000_000 - rest)
    assert isinstance(step, Proceed) == fits


def test_who_wishes_for_a_few_words_gets_all_of_them_or_nothing() -> None:
    """A caller that asks for ten tokens is not given nine."""
    asked = request("large", max_output_tokens=10)
    enough = 1_216 * 10 + 10 * 40
    assert isinstance(go(usd(10**6, downgrade_at=None), asked=asked, used=10**6 - enough)[0], Proceed)
    assert isinstance(go(usd(10**6, downgrade_at=None), asked=asked, used=10**6 - enough + 1)[0], Refuse)


def test_what_fits_no_dear_model_goes_to_a_cheaper_one() -> None:
    """A request whose bound is beyond the rest at any useful length is answered by a cheaper tier, with its full length."""
    step, decision = go(usd(1_000_000, downgrade_at=1.0), used=1_000_000 - 12_000)
    assert isinstance(step, Proceed)
    assert decision.chain[0].tier == "standard"
    assert step.reasons == ("budget-downgrade:daily",)
    assert step.max_output_tokens is None


def test_a_place_without_room_is_left_out() -> None:
    """A provider at its limit leaves the candidates; the request goes to another and nobody is refused."""
    limit = Budget("provider:three:requests", "requests", 1, MINUTE, (("provider", "three"),))
    found, store = registry(limit), ModelStore()
    first, decision = walk(found, BEST, store, reservation="a")
    assert (isinstance(first, Proceed), decision.chain[0].deployment) == (True, "three/large")
    second, decision = walk(found, BEST, store, reservation="b")
    assert isinstance(second, Proceed)
    assert [attempt.deployment for attempt in decision.chain] == ["two/medium", "one/small"]
    assert second.reasons == ()


def test_two_places_of_equal_limits_are_filled_both() -> None:
    """As many requests pass as all places together have room for, and then one more is refused."""
    limits = [
        Budget(f"provider:{name}:requests", "requests", 5, MINUTE, (("provider", name),)) for name in ("one", "two", "three")
    ]
    found, store = registry(*limits), ModelStore()
    steps = [walk(found, BEST, store, reservation=f"r{index}")[0] for index in range(16)]
    assert [isinstance(step, Proceed) for step in steps] == [True] * 15 + [False]


def test_only_a_provider_is_waited_for() -> None:
    """Where all places are at their limits, the first to have room again says how long to wait; a tenant's limit does not."""
    limits = [
        Budget(f"provider:{name}:requests", "requests", 1, MINUTE, (("provider", name),)) for name in ("one", "two", "three")
    ]
    found = registry(*limits)
    wanted, constraints = claim(found, BEST), None
    opened = {"three/large": 9.0, "two/medium": 1.5, "one/small": 4.0}
    step: object = None
    for _ in range(3):
        decision = decide(found, BEST) if constraints is None else decide(found, BEST, constraints)
        wanted = claim(found, BEST) if constraints is None else claim(found, BEST, constraints=constraints)
        first = next(index for index, hold in enumerate(wanted.holds) if hold.kind == "enforce")
        free = (NOON + opened[decision.chain[0].deployment],)
        verdict = Verdict(tuple(Level(1) for _ in wanted.holds), (first,), (), free)
        step = next_step(wanted, verdict, found, BEST, decision, NOON)
        assert isinstance(step, Again)
        constraints = step.constraints
    with pytest.raises(LimitReachedError):
        decide(found, BEST, constraints)  # type: ignore[arg-type]
    assert isinstance(step, Again)
    refused = step.otherwise
    assert isinstance(refused, Refuse)
    assert (refused.wait_until, refused.error.retry_after) == (NOON + 1.5, 2)
    own = registry(Budget("mine", "requests", 1, MINUTE, per=("tenant",)))
    store = ModelStore()
    walk(own, BEST, store, reservation="a")
    tenant, _ = walk(own, BEST, store, reservation="b")
    assert isinstance(tenant, Refuse)
    assert tenant.wait_until is None


def test_a_providers_money_is_moved_elsewhere() -> None:
    """A provider whose own budget is used up leaves the candidates, as the first choice and as a fallback."""
    budget = Budget("provider:three:budget", "usd", 10_000, DAY, (("provider", "three"),))
    step, decision = walk(registry(budget), BEST, ModelStore())
    assert isinstance(step, Proceed)
    assert [attempt.deployment for attempt in decision.chain] == ["two/medium", "one/small"]
    assert step.account.held == ()


def test_a_budget_of_a_model_closes_all_its_deployments() -> None:
    """What a counter counts together is closed together, also what the chain does not hold."""
    here, there = model("large", Tier.PREMIUM, DEAR, "three"), model("large", Tier.PREMIUM, DEAR, "four")
    twins = replace(here, deployments=(*here.deployments, *there.deployments))
    other = model("small", Tier.ECONOMY, DEAR, "one")
    found = registry(Budget("m", "requests", 0, DAY, per=("model",), match=(("model", "large"),)), models=(twins, other))
    step, decision = walk(found, BEST, ModelStore())
    assert isinstance(step, Proceed)
    assert [attempt.deployment for attempt in decision.chain] == ["one/small"]


def test_a_soft_budget_lets_pass_and_says_so() -> None:
    """Beyond its cap a budget that only flags still admits, still counts, and is named in the reason."""
    store = spent(ModelStore(), "usd:daily", 10**6)
    step, _ = walk(registry(usd(10**6, at_cap="allow_and_flag", downgrade_at=None)), request("large"), store)
    assert isinstance(step, Proceed)
    assert (step.flagged, step.reasons) == (("daily",), ("over-budget:daily",))
    assert store.held[("r-1", "usd:daily")] > 0
    assert step.figures.remaining_micro_usd is None


def test_an_observed_budget_changes_nothing() -> None:
    """A watched budget that would have refused is reported, neither downgrades nor shortens, and is left out of the account."""
    budgets = (usd(1_000, mode="observe"), Budget("r", "requests", 5, DAY))
    step, decision = go(*budgets, used=999)
    assert isinstance(step, Proceed)
    assert (step.observed, step.reasons, step.max_output_tokens) == (("daily",), (), None)
    assert decision.chain[0].tier == "premium"
    assert [held.budget for held in step.account.held] == ["r"]


@settings(max_examples=150)
@given(
    cap=st.integers(1, 400_000),
    unit=st.sampled_from(["usd", "tokens", "requests"]),
    trace=st.lists(st.tuples(st.integers(0, 3_000), st.integers(1, 60), st.integers(0, 60)), max_size=30),
)
def test_observing_counts_what_enforcing_refuses(cap: int, unit: str, trace: list[tuple[int, int, int]]) -> None:
    """On one trace, one request after the other, an observed budget reports exactly those that an enforced one refuses."""
    limit = cap if unit == "usd" else cap // 50 if unit == "tokens" else cap % 20
    refused: dict[str, list[int]] = {}
    for mode in ("enforce", "observe"):
        found = registry(Budget("b", unit, limit, DAY, mode=mode))  # type: ignore[arg-type]
        store, refused[mode] = ModelStore(), []
        for index, (prompt, wish, answer) in enumerate(trace):
            asked = request("large", prompt_tokens=prompt, max_output_tokens=wish)
            step, _ = walk(found, asked, store, reservation=f"r{index}")
            if isinstance(step, Refuse) or step.observed:
                refused[mode].append(index)
            if isinstance(step, Proceed):
                tokens = min(answer, wish)
                cost = step.account.rates["three/large"].cost(prompt, tokens)
                store.settle(step.account, {"usd": cost, "tokens": prompt + tokens})
    assert refused["observe"] == refused["enforce"]


@settings(max_examples=150)
@given(
    caps=st.lists(st.integers(0, 200_000), min_size=1, max_size=3),
    asks=st.lists(
        st.tuples(
            st.integers(0, 3_000), st.none() | st.integers(1, 3_000), st.sampled_from(["best", "auto", "large"]), st.booleans()
        ),
        max_size=25,
    ),
    soft=st.booleans(),
)
def test_no_enforced_cap_is_passed_whatever_is_asked(
    caps: list[int],
    asks: list[tuple[int, int | None, str, bool]],
    soft: bool,  # noqa: FBT001 - hypothesis
) -> None:
    """However requests come and end, what is set aside and settled together never exceeds an enforced cap, in any unit."""
    units = ("usd", "tokens", "requests")
    budgets = [Budget(f"b{index}", units[index], cap if index < 2 else cap % 9, DAY) for index, cap in enumerate(caps)]  # type: ignore[arg-type]
    if soft:
        budgets.append(Budget("soft", "usd", 10, DAY, at_cap="allow_and_flag"))
    found, store = registry(*budgets), ModelStore()
    for index, (prompt, wish, name, ends) in enumerate(asks):
        asked = request(name, prompt_tokens=prompt, max_output_tokens=wish)
        step, decision = walk(found, asked, store, reservation=f"r{index}")
        if isinstance(step, Proceed) and ends:
            # The longest answer that the body allows, from the dearest place, for as large a prompt as the margin allows.
            limits = [one for one in (wish, step.max_output_tokens, 4_000) if one is not None]
            most = [
                step.account.rates[attempt.deployment].cost(int(prompt * 1.2) + 16, min(limits)) for attempt in decision.chain
            ]
            store.settle(step.account, {"usd": max(most), "tokens": int(prompt * 1.2) + 16 + min(limits)})
        for budget in budgets:
            assert budget.name == "soft" or store.used(f"{budget.unit}:{budget.name}") <= budget.cap
        if isinstance(step, Refuse):
            assert not [name for reservation, name in store.held if reservation == f"r{index}"]


def test_figures_are_those_of_the_tightest_limit_of_the_caller() -> None:
    """Headers show the limit with least left after this request, not the provider's, and when it resets."""
    limits = [
        Budget("wide", "requests", 100, DAY),
        Budget("narrow", "requests", 10, MINUTE),
        Budget("provider:three:requests", "requests", 2, MINUTE, (("provider", "three"),)),
        Budget("seen", "requests", 1, MINUTE, mode="observe"),
        Budget("tokens", "tokens", 10_000, DAY),
    ]
    step, _ = walk(registry(*limits), request("large"), ModelStore())
    assert isinstance(step, Proceed)
    figures = step.figures
    assert figures.requests is not None
    assert figures.tokens is not None
    assert (figures.requests.limit, figures.requests.remaining, figures.requests.reset_seconds) == (10, 9, 61.0)
    assert (figures.tokens.limit, figures.tokens.remaining) == (10_000, 10_000 - 2_216)
    refused, _ = walk(registry(Budget("none", "requests", 0, DAY)), request("large"), ModelStore())
    assert refused.figures.requests is not None
    assert (refused.figures.requests.limit, refused.figures.requests.remaining) == (0, 0)


def test_a_raise_makes_room_while_it_lasts() -> None:
    """A temporary raise admits what the cap alone refuses, and no longer when it has ended."""
    raised = Budget("b", "requests", 0, DAY, raises=(Raise(1, until=NOON + 60),))
    assert isinstance(walk(registry(raised), BEST, ModelStore())[0], Proceed)
    assert isinstance(walk(registry(raised), BEST, ModelStore(), now=NOON + 60)[0], Refuse)


def test_a_session_that_repeats_itself_is_warned_asked_and_stopped() -> None:
    """The last requests before the limit warn and ask for a summary; beyond it the session is stopped, and no other."""
    found = registry(spending=Spending(loop_guard=LoopGuard("enforce", 5)))
    store = ModelStore()
    seen = []
    for index in range(7):
        step, _ = walk(found, BEST, store, reservation=f"r{index}", session="s", fingerprint="f")
        if isinstance(step, Refuse):
            seen.append(step.error.code or "")
        else:
            seen.append("".join(step.reasons) + ("!" if step.system_line else ""))
            store.settle(step.account, {})
    assert seen == ["", "", "", "loop-warned", "loop-summary!", "loop_stopped", "loop_stopped"]
    for session, fingerprint in (("t", "f"), ("s", "g")):
        step, _ = walk(found, BEST, store, reservation="other", session=session, fingerprint=fingerprint)
        assert isinstance(step, Proceed)
        assert step.system_line is None


def test_the_guards_money_is_nobodys_budget() -> None:
    """What a session may cost is not shown as money that the caller has left."""
    found = registry(spending=Spending(loop_guard=LoopGuard("enforce", 5, cap=10**6)))
    step, _ = walk(found, BEST, ModelStore(), session="s")
    assert isinstance(step, Proceed)
    assert step.figures.remaining_micro_usd is None
    assert any(held.counter.startswith("usd:loop_guard:cost") for held in step.account.held)


def test_a_request_asked_again_is_admitted_as_it_was() -> None:
    """When a worker dies and another one asks for the same reservation, nothing is set aside twice."""
    found, store = registry(usd(100_000, downgrade_at=None)), ModelStore()
    first, _ = walk(found, request("large"), store)
    held = dict(store.held)
    second, _ = walk(found, request("large"), store)
    assert isinstance(first, Proceed)
    assert isinstance(second, Proceed)
    assert store.held == held


def test_what_a_dead_worker_set_aside_is_no_licence_for_more() -> None:
    """Where less is set aside for this reservation than it needs now, it grows as far as there is room, and no further."""
    found, store = registry(usd(100_000, downgrade_at=None)), ModelStore()
    asked = request("large")
    lowered = replace(claim(found, asked).holds[0], amount=20_000)
    store.reserve("r-1", (lowered,))
    store.reserve("other", (replace(lowered, amount=70_000),))
    step, _ = walk(found, asked, store)
    assert isinstance(step, Proceed)
    assert step.reasons == ("max-tokens-lowered:daily",)
    assert store.used("usd:daily") == 70_000 + step.account.held[0].amount <= 100_000
    assert step.account.held[0].amount > lowered.amount


def test_what_a_dead_worker_set_aside_is_enough_for_no_more() -> None:
    """Who needs no more than is set aside already goes on, though others have filled the budget meanwhile."""
    found, store = registry(usd(100_000, downgrade_at=None)), ModelStore()
    asked = request("large")
    wanted = claim(found, asked).holds[0]
    store.reserve("r-1", (wanted,))
    store.settled[wanted.counter, wanted.bucket] = 100_000
    step, _ = walk(found, asked, store)
    assert isinstance(step, Proceed)
    assert step.reasons == ()
    assert store.held["r-1", wanted.counter] == wanted.amount
