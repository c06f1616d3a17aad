"""Claims: which counters a decided request is counted in, and how much is asked of each."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from router_extproc.account import decode_account, encode_account
from router_extproc.caller import BATCH, NOBODY, Caller, Permissions
from router_extproc.decision import Constraints
from router_extproc.limits.bound import PROMPT_ALLOWANCE, UNKNOWN_OUTPUT_TOKENS
from router_extproc.limits.claims import Claim, budgets_for, cap_at
from router_extproc.registry.snapshot import Tier
from router_extproc.registry.spending import Budget, KeyGrant, LoopGuard, Raise, Spending, StoreSettings, Waiting, Window
from router_extproc.request import CHAT_COMPLETIONS
from router_extproc.router import read_request
from tests.limits.cases import ACME, MIDDLE, NOON, claim, model, registry, request

DAY = Window(calendar="day")
PROMPT = 1_200 + PROMPT_ALLOWANCE


def usd(name: str, cap: int = 10**6, **more: object) -> Budget:
    return Budget(name, "usd", cap, DAY, **more)  # type: ignore[arg-type]


def counters(found: Claim) -> dict[str, int]:
    return {hold.counter: hold.amount for hold in found.holds}


def test_without_a_budget_nothing_is_asked() -> None:
    """A request that falls under no budget has no holds, and its account still says who asked and what it costs."""
    found = claim(registry(usd("other", match=(("tenant", "umbrella"),))), request())
    assert found.holds == ()
    assert (found.account.tenant, found.account.key, found.account.tags) == ("acme", "k1", {"app": "shop"})
    assert found.account.rates["three/large"].input == 10_000_000
    assert (found.account.prompt_tokens, found.account.completion_tokens) == (1_000, 400)


def test_labels_choose_the_budgets() -> None:
    """A budget counts the requests whose labels match all of its pairs, by prefix where a value ends in a star."""
    budgets = [
        usd("global"),
        usd("acme", match=(("tenant", "acme"),)),
        usd("ads", match=(("tenant", "acme"), ("team", "ads"))),
        usd("shop", match=(("tag:app", "sh*"),)),
        usd("best", match=(("route", "best"),)),
        usd("others", match=(("team", "sales"),)),
        usd("nameless", match=(("session", ""),)),
        usd("off", mode="off"),
    ]
    found = claim(registry(*budgets), request())
    assert list(counters(found)) == ["usd:global", "usd:acme", "usd:ads", "usd:shop", "usd:nameless"]
    assert [budget.name for budget in found.budgets] == ["global", "acme", "ads", "shop", "nameless"]


def test_each_value_of_per_has_a_counter_of_its_own() -> None:
    """One budget counts each combination of the labels it is per; who lacks one of them is not counted."""
    budgets = registry(usd("each", per=("tenant", "user")), usd("talk", per=("session",)))
    assert list(counters(claim(budgets, request()))) == ["usd:each|tenant=acme|user=ann"]
    assert list(counters(claim(budgets, request(), session="7"))) == [
        "usd:each|tenant=acme|user=ann",
        "usd:talk|tenant=acme|session=7",
    ]
    assert counters(claim(budgets, request(caller=NOBODY))) == {}


def test_a_keys_own_budget_counts_that_key_alone() -> None:
    """A budget written at a key is named by it, and holds for whoever shows that key."""
    grant = KeyGrant("k1", "acme", (), budgets=(usd("daily"),))
    found = claim(registry(), request(), key=grant)
    assert list(counters(found)) == ["usd:key:k1:daily"]
    assert found.budgets[0].match == (("key", "k1"),)
    (again,) = budgets_for(registry(), replace(grant, budgets=found.budgets))
    assert again == found.budgets[0]


def test_how_much_is_asked_follows_from_what_a_budget_does() -> None:
    """What refuses is asked for the bound, what observes for that of a short answer, what only flags for the likely amount."""
    budgets = [usd("hard"), usd("seen", mode="observe"), usd("soft", at_cap="allow_and_flag")]
    found = claim(registry(*budgets), request())
    bound = PROMPT * 10 + 1_000 * 40
    assert counters(found) == {"usd:hard": bound, "usd:seen": PROMPT * 10 + 64 * 40, "usd:soft": 1_000 * 10 + 400 * 40}
    assert [hold.kind for hold in found.holds] == ["enforce", "observe", "count"]


def test_units_are_counted_by_their_kind() -> None:
    """Tokens are bounded, requests, iterations and parallel requests count one each."""
    units = [Budget(unit, unit, 10_000, DAY) for unit in ("tokens", "requests", "iterations", "parallel")]
    found = claim(registry(*units), request())
    assert counters(found) == {
        "tokens:tokens": PROMPT + 1_000,
        "requests:requests": 1,
        "iterations:iterations": 1,
        "parallel:parallel": 1,
    }


def test_parallel_requests_count_as_long_as_they_last() -> None:
    """How many requests run at once knows no window: its counter lasts as long as a reservation may."""
    spending = Spending(store=StoreSettings(reservation_ms=60_000))
    found = claim(registry(Budget("p", "parallel", 2, DAY), spending=spending), request())
    (hold,) = found.holds
    assert (hold.bucket, hold.since, hold.expires_at) == (0, 0, NOON + 120)


def test_the_account_holds_all_that_settling_needs() -> None:
    """An account survives its journey as JSON and says what was set aside where, until when, and who is to be alerted."""
    found = claim(registry(usd("hard", warn_at=(0.5, 0.8))), request(), session="s", purpose="judge")
    account = decode_account(encode_account(found.account))
    assert account == found.account
    (held,) = account.held
    assert (held.counter, held.unit, held.amount, held.budget, held.limit, held.warn_at) == (
        "usd:hard", "usd", found.holds[0].amount, "hard", 10**6, (0.5, 0.8),
    )  # fmt: skip
    assert (account.purpose, account.session, account.reservation) == ("judge", "s", "r-1")


@pytest.mark.parametrize(("at", "expected"), [(-1.0, 100), (0.0, 150), (9.9, 150), (10.0, 100)])
def test_raises_hold_from_their_beginning_until_their_end(at: float, expected: int) -> None:
    """A temporary raise counts from the second it begins and no longer in the one it ends."""
    budget = usd("b", 100, raises=(Raise(50, until=NOON + 10, since=NOON),))
    assert cap_at(budget, NOON + at) == expected
    assert claim(registry(budget), request(), now=NOON + at).holds[0].limit == expected


def test_raises_made_at_run_time_are_added_by_name() -> None:
    """What an administrator raises while the router runs counts like what is written."""
    found = budgets_for(registry(usd("b", 100), usd("c", 100)), raises={"b": (Raise(5, until=NOON + 1),)})
    assert [cap_at(budget, NOON) for budget in found] == [105, 100]


def test_a_bound_that_rests_on_an_assumption_is_written_into_the_body() -> None:
    """Where the caller sets no limit, an enforced budget's assumption becomes one, or the bound would be none."""
    asked = request(max_output_tokens=None)
    found = claim(registry(usd("b", assume_max_output_tokens=300)), asked)
    assert found.max_output_tokens == 300
    assert found.account.completion_tokens == 300, "the estimate must fit what was set aside for it"
    assert found.holds[0].amount == PROMPT * 10 + 300 * 40
    only_seen = claim(registry(usd("b", assume_max_output_tokens=300, mode="observe")), asked)
    assert only_seen.max_output_tokens is None
    limited = claim(registry(usd("b", assume_max_output_tokens=300)), request(max_output_tokens=500))
    assert limited.max_output_tokens is None
    assert limited.holds[0].amount == PROMPT * 10 + 500 * 40


def test_what_is_made_in_the_background_is_settled_as_it_was_set_aside() -> None:
    """The account says that what came of the answer tells nothing, and has what was set aside, the written limit included."""
    body = b'{"model": "small", "messages": [{"role": "user", "content": "hi"}], "background": true}'
    asked = read_request("POST", CHAT_COMPLETIONS, {"content-type": "application/json"}, body)
    found = claim(registry(usd("b", assume_max_output_tokens=300)), asked)
    account = found.account
    assert (account.detached, account.completion_tokens, found.max_output_tokens) == (True, 300, 300)
    (rates,) = account.rates.values()
    assert rates.cost(account.prompt_tokens, account.completion_tokens) == found.holds[0].amount
    assert not claim(registry(usd("b", at_cap="allow_and_flag")), asked).account.detached


def test_an_unknown_limit_is_assumed_and_written() -> None:
    """Where neither caller nor model limits the answer, an enforced budget sets the limit that its bound assumes."""
    unknown = model("large", Tier.PREMIUM, MIDDLE, output_limit=None, context_window=None)
    found = claim(registry(usd("b"), models=(unknown,)), request(max_output_tokens=None))
    assert found.max_output_tokens == UNKNOWN_OUTPUT_TOKENS
    assert claim(registry(models=(unknown,)), request(max_output_tokens=None)).max_output_tokens is None


def test_a_permission_cuts_the_answer_without_any_budget() -> None:
    """The most that a caller's answers may have is written into the body where the caller asks for more, or for nothing."""
    short = replace(ACME, permissions=Permissions(max_output_tokens=200))
    assert claim(registry(), request(caller=short)).max_output_tokens == 200
    assert claim(registry(), request(caller=short, max_output_tokens=None)).max_output_tokens == 200
    assert claim(registry(), request(caller=short, max_output_tokens=100)).max_output_tokens is None


def test_a_lowered_limit_lowers_the_bound() -> None:
    """What the ladder left of an answer is what is asked for."""
    found = claim(registry(usd("b")), request(), constraints=Constraints(max_output_tokens=100))
    assert found.max_output_tokens == 100
    assert found.holds[0].amount == PROMPT * 10 + 100 * 40


def test_a_place_is_counted_by_what_it_may_cost_itself() -> None:
    """A money budget on a provider counts each provider of the chain for its own part, and says whose answers count there."""
    found = claim(registry(usd("each", per=("provider",)), usd("two", match=(("provider", "two"),))), request("best"))
    assert counters(found) == {
        "usd:each|provider=one": -(-(PROMPT * 5 + 1_000 * 10) // 10),
        "usd:each|provider=two": PROMPT * 2 + 1_000 * 8,
        "usd:each|provider=three": PROMPT * 10 + 1_000 * 40,
        "usd:two": PROMPT * 2 + 1_000 * 8,
    }
    assert {held.counter: held.deployments for held in found.account.held} == {
        "usd:each|provider=one": ("one/small",),
        "usd:each|provider=two": ("two/medium",),
        "usd:each|provider=three": ("three/large",),
        "usd:two": ("two/medium",),
    }


def test_a_budget_for_a_place_and_a_tenant_counts_that_tenant_there() -> None:
    """Labels of the caller and of the place may stand together."""
    budget = usd("b", match=(("tenant", "acme"), ("model", "me*")), per=("user", "deployment"))
    assert list(counters(claim(registry(budget), request("best")))) == ["usd:b|tenant=acme|user=ann|deployment=two/medium"]
    assert counters(claim(registry(budget), request("best", caller=NOBODY))) == {}


def test_a_providers_own_limit_is_asked_of_the_first_place_alone() -> None:
    """Places that are only fallen back on are settled when they answer; asking them all would use up what nobody sends."""
    limits = [
        Budget("provider:two:requests", "requests", 10, Window(rolling_seconds=60), (("provider", "two"),)),
        Budget("provider:three:requests", "requests", 10, Window(rolling_seconds=60), (("provider", "three"),)),
    ]
    found = claim(registry(*limits), request("best"))
    assert {hold.counter: (hold.amount, hold.kind) for hold in found.holds} == {
        "requests:provider:two:requests": (0, "count"),
        "requests:provider:three:requests": (1, "enforce"),
    }


def test_a_providers_token_limit_counts_as_providers_do() -> None:
    """Tokens a minute are counted by the limit that is asked for, else by the answer's likely length."""
    limit = Budget("provider:three:tokens", "tokens", 10**6, Window(rolling_seconds=60), (("provider", "three"),))
    assert claim(registry(limit), request()).holds[0].amount == PROMPT + 1_000
    assert claim(registry(limit), request(max_output_tokens=None)).holds[0].amount == 1_000 + 400


def test_batch_work_leaves_a_share_of_a_providers_limit() -> None:
    """Work that can wait may not fill a provider's limit to the brim; what it may spend is as much as anybody's."""
    limit = Budget("provider:three:requests", "requests", 10, Window(rolling_seconds=60), (("provider", "three"),))
    spending = Spending(waiting=Waiting(interactive_share=0.2))
    batch = replace(ACME, priority=BATCH)
    assert [one.limit for one in claim(registry(limit, usd("b"), spending=spending), request(caller=batch)).holds] == [8, 10**6]
    assert [one.limit for one in claim(registry(limit, usd("b"), spending=spending), request()).holds] == [10, 10**6]


def test_each_session_is_watched_within_its_tenant() -> None:
    """The loop guard counts what is alike, all steps and the cost, of sessions that have a name."""
    spending = Spending(loop_guard=LoopGuard("enforce", 5, 50, 10**6))
    guarded = registry(spending=spending)
    assert counters(claim(guarded, request())) == {}
    assert list(counters(claim(guarded, request(), session="s", fingerprint="f"))) == [
        "iterations:loop_guard:repeats|tenant=acme|session=s|fingerprint=f",
        "iterations:loop_guard:steps|tenant=acme|session=s",
        "usd:loop_guard:cost|tenant=acme|session=s",
    ]
    assert counters(claim(guarded, request(), session="s")).keys() == {
        "iterations:loop_guard:steps|tenant=acme|session=s",
        "usd:loop_guard:cost|tenant=acme|session=s",
    }


def test_a_model_without_a_price_costs_nothing_and_still_counts() -> None:
    """What has no price cannot be counted in money; it is counted in requests and tokens."""
    free = model("large", Tier.PREMIUM, None)
    found = claim(registry(usd("b"), Budget("r", "requests", 5, DAY), models=(free,)), request())
    assert counters(found) == {"usd:b": 0, "requests:r": 1}
    assert found.account.rates == {}


def test_a_key_may_count_in_several_budgets_and_keys_may_share_one() -> None:
    """Budgets choose by labels: many keys fall under one, one key under many."""
    shared = registry(usd("shared", match=(("tag:app", "shop"),)), usd("each", per=("key",)))
    one = claim(shared, request())
    other = claim(shared, request(caller=Caller(tenant="umbrella", key="k2", tags={"app": "shop"})))
    assert set(counters(one)) & set(counters(other)) == {"usd:shared"}
    assert {name for name in (*counters(one), *counters(other)) if "each" in name} == {"usd:each|key=k1", "usd:each|key=k2"}
