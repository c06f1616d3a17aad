"""What a window leaves to the next one: never more than its own amount, and never what it turns out to have used."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from router_extproc.limits.claims import Claim
from router_extproc.limits.rollover import Carry, carried, carries_of, carry_into, most_used, with_carried
from router_extproc.limits.windows import part
from router_extproc.registry.spending import Budget, Raise, Window
from router_extproc.store.counters import Level, Query
from tests.limits.cases import NOON, claim, registry, request
from tests.limits.model_store import ModelStore
from tests.limits.test_rehearsal import level, rehearsed

CAP = 1_000
MONTH = Window(calendar="month")
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia")
# Of this year: the clocks of these zones change within it, and so do the lengths of months.
YEAR = int(datetime(2027, 1, 1, tzinfo=UTC).timestamp())


def monthly(**more: Any) -> Budget:
    written: dict[str, Any] = {"name": "b", "unit": "usd", "cap": CAP, "window": MONTH, "rollover_since": 0.0}
    return Budget(**written | more)


def instant(*day: int, zone: str = "UTC") -> int:
    return int(datetime(*day, tzinfo=ZoneInfo(zone)).timestamp())  # type: ignore[arg-type,misc]  # year, month, day


def test_what_is_carried_is_what_is_missing_to_the_own_cap() -> None:
    """Raises are not carried on, and who used more than the cap leaves nothing and owes nothing."""
    budget = monthly(raises=(Raise(500, until=NOON + 1),))
    assert [carried(budget, used) for used in (0, 300, CAP, CAP + 400)] == [CAP, 700, 0, 0]


@pytest.mark.parametrize(
    "more",
    [
        {"rollover_since": None},
        {"window": Window()},
        {"window": Window(rolling_seconds=60)},
        {"unit": "parallel"},
        {"rollover_since": NOON},
    ],
)
def test_most_budgets_begin_with_their_own_amount_alone(more: dict[str, Any]) -> None:
    """Without the option, without a window before, and where the window before began earlier than the option holds."""
    assert carry_into(monthly(**more), "usd:b", instant(2026, 3, 1)) is None


def test_a_window_that_began_before_the_date_leaves_nothing() -> None:
    """The first window that leaves something is the first one that begins on the date or later."""
    budget = monthly(rollover_since=float(instant(2026, 2, 1)))
    assert carry_into(budget, "c", instant(2026, 2, 1)) is None
    assert carry_into(budget, "c", instant(2026, 3, 1)) == Carry("c", instant(2026, 2, 1), instant(2026, 3, 1))


def test_only_the_last_window_is_read() -> None:
    """What was used since it began, without what was used in this one; what is set aside may belong to either."""
    assert Carry("c", 10, 20).queries == (Query("c", 10), Query("c", 20))
    assert most_used(Level(70, 5), Level(30, 5)) == 45
    assert most_used(Level(70, 5), Level(30, 5), is_settled=True) == 40


def test_what_is_found_later_counts_whichever_way_it_changed() -> None:
    """What is set aside afterwards belongs to this window; what is settled late counts even beyond what was expected."""
    assert most_used(Level(70, 500), Level(30, 500), before=45) == 45
    assert most_used(Level(73, 0), Level(30, 0), before=45) == 43
    assert most_used(Level(90, 0), Level(30, 0), before=45) == 60


def test_a_claim_has_the_cap_in_force() -> None:
    """In what is asked of the store and in what alerts go by; budgets beside it keep theirs."""
    found = registry(monthly(), Budget("other", "usd", 5_000_000, MONTH))
    wanted = claim(found, request())
    [carry] = carries_of(wanted)
    more = with_carried(wanted, {carry: 300})
    assert [hold.limit for hold in more.holds] == [CAP + 700, 5_000_000]
    assert [held.limit for held in more.account.held] == [CAP + 700, 5_000_000]
    assert with_carried(wanted, {}) == wanted


@given(st.integers(0, 366 * 24 * 60), st.sampled_from(["minute", "hour", "day", "week", "month"]), st.sampled_from(ZONES))
def test_windows_follow_one_another_without_a_gap(minute: int, unit: Any, zone: str) -> None:
    """The window before ends where this one begins, and what was settled in it is kept until this one ends, also by stores
    that forget what is as old as the newest part will be: whatever clocks and months do.
    """
    now = YEAR + minute * 60.0
    budget = monthly(window=Window(calendar=unit, timezone=zone))
    this = part(budget.window, now)
    carry = carry_into(budget, "c", this.bucket)
    assert carry is not None
    before = part(budget.window, carry.previous)
    assert (before.bucket, part(budget.window, this.bucket - 1)) == (carry.previous, before)
    # Where clocks change by half an hour, an hour window may begin while the one before still has half an hour.
    assert this.bucket <= before.expires_at <= this.bucket + (1_800 if unit == "hour" else 0)
    [told] = claim(registry(budget), request(), now=now).account.held
    [told_before] = claim(registry(budget), request(), now=float(before.bucket)).account.held
    assert told_before.expires_at >= this.expires_at
    assert carry.previous + (told.expires_at - told.bucket) >= this.expires_at


def test_without_rollover_nothing_is_kept_longer() -> None:
    """Counters of many users would be twice as many for nothing."""
    [hold] = claim(registry(monthly(rollover_since=None)), request()).account.held
    assert hold.expires_at == instant(2026, 4, 1)


def test_what_refuses_reckons_with_the_own_window() -> None:
    """When there is room again is told by how long a part counts, not by how long it is kept."""
    [hold] = claim(registry(monthly()), request()).holds
    assert hold.expires_at == instant(2026, 4, 1)


STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 60, 86_400, 7 * 86_400]) | st.integers(0, 40 * 86_400),  # seconds since the last one
        st.sampled_from([1, CAP // 2, CAP, 2 * CAP]) | st.integers(1, 2 * CAP),  # what the request may cost
        st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0, 1),  # the share of it that it does cost
        st.integers(0, 3),  # after how many others it is settled
        st.booleans(),  # whether the worker knows what it read before
    ),
    max_size=30,
)


@example([(0, CAP, 1.0, 1, False), (31 * 86_400, 1, 1.0, 0, False), (0, 2 * CAP - 1, 1.0, 0, True)], "month", "UTC")
@given(STEPS, st.sampled_from(["day", "week", "month"]), st.sampled_from(ZONES))
def test_no_window_spends_what_another_did(steps: list[Any], unit: Any, zone: str) -> None:
    """Whenever requests come and however late they are settled: a window spends its own amount and what the one before left
    at most, so never twice its amount.
    """
    budget = monthly(window=Window(calendar=unit, timezone=zone))
    store, now, known = ModelStore(), float(YEAR), dict[Carry, int]()
    under_way: list[tuple[int, Claim, int]] = []
    found = registry(budget)
    for number, (seconds, amount, share, late, remembers) in enumerate(steps):
        now += seconds
        wanted = claim(found, request(), now=now, reservation=f"r-{number}")

        wanted = _asking(wanted, amount)
        [carry] = carries_of(wanted)
        since_previous, since_this = (level(store, query) for query in carry.queries)
        if not remembers or carry not in known:
            known[carry] = most_used(since_previous, since_this, known.get(carry))
        wanted = with_carried(wanted, {carry: known[carry]})
        if not store.reserve(f"r-{number}", wanted.holds).refused:
            under_way.append((number + late, wanted, int(amount * share)))
        for due in [each for each in under_way if each[0] <= number]:
            under_way.remove(due)
            store.settle(due[1].account, {"usd": due[2]})
    for _, wanted, used in under_way:
        store.settle(wanted.account, {"usd": used})
    spent = {bucket: amount for (_, bucket), amount in store.settled.items()}
    for bucket, amount in spent.items():
        before = carry_into(budget, "c", bucket)
        assert before is not None
        assert amount <= CAP + max(0, CAP - spent.get(before.previous, 0)) <= 2 * CAP


def _asking(wanted: Claim, amount: int) -> Claim:
    """The claim for so much."""
    [hold], [held] = wanted.holds, wanted.account.held
    return replace(
        wanted,
        holds=(replace(hold, amount=amount),),
        account=replace(wanted.account, held=(replace(held, amount=amount),)),
    )


def test_a_rehearsal_goes_by_the_cap_in_force() -> None:
    """What would be refused without the last window's rest is shown as fitting, with the cap that makes it fit."""
    store = ModelStore()
    store.settled["usd:b", instant(2026, 2, 1)] = 30_000
    store.settled["usd:b", instant(2026, 3, 1)] = 100_000
    budget = monthly(cap=100_000, downgrade_at=None)
    [shown] = rehearsed(registry(budget), request(), store).budgets
    assert (shown.cap, shown.settled, shown.outcome) == ("0.170000", "0.100000", "fits")
    [without] = rehearsed(registry(monthly(cap=100_000, downgrade_at=None, rollover_since=None)), request(), store).budgets
    assert (without.cap, without.outcome) == ("0.100000", "no room")
