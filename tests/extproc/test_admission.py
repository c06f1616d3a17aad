"""Between deciding and answering: what is set aside in a real store, and what the client and the log are told of it."""

from __future__ import annotations

import asyncio
import json
import math
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from router_extproc.account import Account, decode_account
from router_extproc.extproc import full_places
from router_extproc.extproc.admission import Admission
from router_extproc.extproc.callers import Callers
from router_extproc.extproc.conclusion import conclude
from router_extproc.extproc.live import View
from router_extproc.extproc.route_leg import RouteLeg
from router_extproc.extproc.ticket import TicketOffice
from router_extproc.limits.identity import digest_of
from router_extproc.registry.health import DeploymentHealth, Health
from router_extproc.registry.snapshot import Plan, Prices, Registry, Route, Tier
from router_extproc.registry.spending import (
    Budget,
    KeyGrant,
    LoopGuard,
    Spending,
    StoreSettings,
    Tenant,
    Waiting,
    Window,
    name_of_key_budget,
)
from router_extproc.router import Router
from router_extproc.store.counters import CounterStore, Hold, Level, Query, Release, StoreUnavailableError, Total, Verdict
from router_extproc.store.lives import Lives, counter_of
from router_extproc.store.sqlite_counters import SqliteCounters
from router_extproc.telemetry.worker_figures import Admissions
from tests.extproc.conversation import metadata, read, request_body, request_headers
from tests.extproc.test_callers import Known
from tests.policy import registries as build

KEY = "sk-router-k1.secret"
DAY = Window(calendar="day")
MINUTE = Window(rolling_seconds=60)
# An answer of at most 100 tokens costs 100 µ$ from the small model, 1,000 µ$ from the large one; prompts cost nothing.
SMALL = build.model("small", Tier.ECONOMY, prices=Prices(0, 1), output_limit=1_000)
LARGE = build.model("large", Tier.PREMIUM, prices=Prices(0, 10), output_limit=1_000)


def registry(*budgets: Budget, **spending: Any) -> Registry:
    routes = (Route("either", Plan(targets=build.targets("large", "small"), same_tier=False)),)
    return build.registry(SMALL, LARGE, routes=routes, spending=Spending(budgets=budgets, **spending))


class Away:
    """A store that does not answer while it is ``away``; each question costs it nothing."""

    def __init__(self, store: CounterStore) -> None:
        self.store, self.is_away = store, False
        self.questions = 0
        self.released: list[Release] = []

    def _check(self) -> None:
        if self.is_away:
            raise StoreUnavailableError("away")

    async def reserve(self, reservation: str, holds: Sequence[Hold], until: float, now: float) -> Verdict:
        self.questions += 1
        self._check()
        return await self.store.reserve(reservation, holds, until, now)

    async def release(self, releases: Sequence[Release], now: float) -> None:
        self._check()
        self.released += releases
        await self.store.release(releases, now)

    async def settle(self, totals: Sequence[Total], releases: Sequence[Release], now: float) -> None:
        await self.store.settle(totals, releases, now)

    async def read(self, queries: Sequence[Query], now: float) -> tuple[Level, ...]:
        self._check()
        return await self.store.read(queries, now)

    async def claim(self, name: str, expires_at: float, now: float) -> bool:
        return await self.store.claim(name, expires_at, now)

    async def aclose(self) -> None:
        await self.store.aclose()


class Stage:
    """A worker's admission over a store in a file; ``ask`` plays one request through leg and admission."""

    def __init__(self, folder: Path) -> None:
        self.shared = Away(SqliteCounters(folder / "shared.sqlite"))
        self.local: CounterStore = SqliteCounters(folder / "local.sqlite")
        self.tally = Admissions()
        self.callers = Callers(Known())
        self.lives = Lives(folder / "lives")
        self.admission = Admission(self, self.callers, self.tally, self.lives)
        self.health = Health()
        self.is_waiting = asyncio.Event()
        self.numbers: Iterator[int] = iter(range(1, 10_000))

    async def aclose(self) -> None:
        await self.admission.aclose()
        await self.shared.aclose()
        await self.local.aclose()

    async def ask(
        self,
        view: Registry,
        model: str = "small",
        *,
        id: str = "",  # noqa: A002 - as the header calls it
        headers: Any = None,
        has_body: bool = True,
        life: str = "",
        **body: Any,
    ) -> Told:
        leg = RouteLeg(View(Router(view), view, self.health), TicketOffice(), NoProbes(), draw=1, callers=self.callers)
        own = {
            ":method": "POST",
            ":path": "/v1/chat/completions",
            "content-type": "application/json",
            "x-request-id": id or f"id-{next(self.numbers)}",
        }
        if not leg.headers(request_headers(own | (headers or {}), end=not has_body)):
            return Told(await conclude(leg, self.admission, self.be_patient, life), leg)
        content = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 100} | body
        leg.body(request_body(json.dumps(content).encode()))
        return Told(await conclude(leg, self.admission, self.be_patient, life), leg)

    async def be_patient(self) -> None:
        self.is_waiting.set()


class NoProbes:
    def claim(self, probe: str) -> bool:
        raise AssertionError(probe)


class Told:
    """What Envoy was told."""

    def __init__(self, answers: list[bytes], leg: RouteLeg) -> None:
        self.answers, self.leg = answers, leg
        self.metadata = metadata(answers[0])
        message = read(answers[0])
        self.immediate = message.immediate_response if message.HasField("immediate_response") else None
        self.own: dict[str, str] = self.metadata.get("router.request", {})

    @property
    def account(self) -> Account:
        return decode_account(self.own["account"])

    @property
    def status(self) -> int:
        return 200 if self.immediate is None else self.immediate.status.code

    @property
    def error(self) -> Any:
        assert self.immediate is not None
        return json.loads(self.immediate.body)["error"]

    @property
    def headers(self) -> dict[str, str]:
        assert self.immediate is not None
        return {one.header.key: one.header.raw_value.decode() for one in self.immediate.headers.set_headers}

    @property
    def reason(self) -> str:
        return str(self.metadata["router"]["reason"])

    @property
    def first(self) -> str:
        return str(self.metadata["router"]["first"])

    @property
    def body(self) -> Any:
        changed = read(self.answers[0]).request_headers.response.body_mutation.body
        return json.loads(changed) if changed else None


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    await stage.aclose()


def usd(cap: int, **more: Any) -> Budget:
    return Budget("money", "usd", cap, **{"window": DAY, "downgrade_at": None} | more)


async def test_where_nothing_is_limited_nothing_is_added(stage: Stage) -> None:
    """The ticket is that of a router without budgets, and no store is asked."""
    stage.shared.is_away = True
    told = await stage.ask(registry())
    assert told.own.keys() == {"cost", "signals", "text_tokens"}
    assert told.metadata.keys() == {"router", "router.request"}
    assert stage.tally == Admissions()


async def test_what_a_request_may_cost_is_set_aside_before_anybody_is_called(stage: Stage) -> None:
    """The account has the reservation and its amount, the client reads what is left."""
    told = await stage.ask(registry(usd(1_000)), id="id-7")
    assert (told.account.reservation, [held.amount for held in told.account.held]) == ("id-7", [100])
    assert told.own["budget_remaining"] == "0.000900"
    [level] = await stage.shared.read([Query(told.account.held[0].counter, 0)], time.time())
    assert level == Level(0, 100)
    assert (stage.tally.admitted, told.leg.outcome.decided) == (1, True)


async def test_a_spent_budget_refuses(stage: Stage) -> None:
    """With the budget's name, when it resets, and the wish not to be asked again at once."""
    view = registry(usd(250))
    assert [(await stage.ask(view)).status for _ in range(2)] == [200, 200]
    told = await stage.ask(view)
    assert (told.status, told.error["code"], told.error["type"]) == (429, "budget_exceeded", "insufficient_quota")
    assert "money" in told.error["message"]
    assert (told.headers["x-should-retry"], int(told.headers["retry-after"]) > 0) == ("false", True)
    assert told.headers["x-router-budget-remaining"] == "0.000050"
    assert told.leg.outcome.refused == "budget_exceeded"
    assert not told.leg.outcome.decided
    assert told.metadata["router"]["refused_by"] == "money"
    assert stage.tally.by_budget == {"money": {"refused": 1}}


async def test_a_key_s_budget_that_refuses_is_named_in_the_log_and_counted_with_all_keys(stage: Stage) -> None:
    """Whoever reads the log finds the key; the number of keys is no number of labels."""
    named = name_of_key_budget("k1", "daily")
    view = registry(Budget(named, "requests", 0, DAY), Budget("house", "requests", 100, DAY))
    told = await stage.ask(view)
    assert (told.status, told.metadata["router"]["refused_by"]) == (429, "key:k1:daily")
    assert stage.tally.by_budget == {"key": {"refused": 1}}


async def test_a_worker_that_died_is_followed_by_one_that_asks_for_the_same(stage: Stage) -> None:
    """The reservation of one request is one, however often Envoy asks."""
    view = registry(usd(100))
    assert [(await stage.ask(view, id="same")).status for _ in range(3)] == [200, 200, 200]


async def test_a_worker_that_died_lends_its_successor_no_more_than_there_is(stage: Stage) -> None:
    """Who needs more for the same request than the one before set aside gets it as far as it fits beside the others."""
    view = registry(usd(1_000))
    amounts = []
    for name, tokens in (("same", 100), ("other", 600), ("same", 300), ("same", 900), ("same", 100)):
        told = await stage.ask(view, id=name, max_tokens=tokens)
        amounts.append(told.account.held[0].amount)
    assert amounts == [100, 600, 300, 400, 100]
    last = await stage.ask(view, id="third", max_tokens=1)
    assert (last.status, last.error["code"]) == (429, "budget_exceeded")


async def test_many_at_once_never_get_more_than_the_cap(stage: Stage) -> None:
    """Of 40 requests that race for room for ten, exactly ten go on."""
    view = registry(usd(1_000))
    told = await asyncio.gather(*(stage.ask(view) for _ in range(40)))
    assert sorted(one.status for one in told) == [200] * 10 + [429] * 30


async def test_an_answer_is_shortened_to_what_is_left(stage: Stage) -> None:
    """The body says so to the provider, the reason to the client."""
    view = registry(usd(190))
    await stage.ask(view)
    told = await stage.ask(view)
    assert told.body["max_tokens"] == 90
    assert told.reason == "named+max-tokens-lowered:money"
    assert [held.amount for held in told.account.held] == [90]
    assert stage.tally.shortened == 1
    assert stage.tally.by_budget == {"money": {"shortened": 1}}
    assert "refused_by" not in told.metadata["router"]


async def test_near_the_cap_a_cheaper_model_answers(stage: Stage) -> None:
    """What was set aside for the dearer one is given back; the reason says which budget it was."""
    view = registry(usd(10_000, downgrade_at=0.5))
    dear = [await stage.ask(view, "either") for _ in range(5)]
    assert {one.first for one in dear} == {"large"}
    told = await stage.ask(view, "either")
    assert (told.first, told.reason) == ("small", "ordered+budget-downgrade:money")
    [level] = await stage.shared.read([Query(told.account.held[0].counter, 0)], time.time())
    assert level.held == 5_000 + 100
    assert stage.tally.downgraded == 1
    assert stage.tally.by_budget == {"money": {"downgraded": 1}}


async def test_a_budget_that_flags_lets_pass(stage: Stage) -> None:
    """It is counted, and told."""
    view = registry(usd(50, at_cap="allow_and_flag"))
    assert [(await stage.ask(view)).status for _ in range(3)] == [200] * 3
    assert stage.tally.flagged >= 1
    assert stage.tally.by_budget == {"money": {"flagged": stage.tally.flagged}}


async def test_a_budget_that_observes_changes_nothing(stage: Stage) -> None:
    """What it would have refused is counted and left out of its own tally."""
    view = registry(usd(100, mode="observe"))
    told = [await stage.ask(view, max_tokens=60) for _ in range(3)]
    assert [len(one.account.held) for one in told] == [1, 0, 0]
    assert {one.reason for one in told} == {"named"}
    assert stage.tally.observed == 2
    assert stage.tally.by_budget == {"money": {"observed": 2}}


async def test_a_limit_on_requests_shows_its_figures(stage: Stage) -> None:
    """On answers and on refusals, as OpenAI's own limits do."""
    view = registry(Budget("rpm", "requests", 2, MINUTE))
    assert (await stage.ask(view)).own["x-ratelimit-remaining-requests"] == "1"
    await stage.ask(view)
    told = await stage.ask(view)
    assert (told.status, told.error["code"], told.error["type"]) == (429, "rate_limit_exceeded", "requests")
    assert told.headers["x-ratelimit-remaining-requests"] == "0"
    assert told.headers["x-ratelimit-limit-requests"] == "2"


@pytest.mark.parametrize(
    ("policy", "statuses"), [("fail_open", [200] * 3), ("fail_closed", [503] * 3), ("local_share", [200, 200, 429])]
)
async def test_without_the_store_each_budget_goes_its_own_way(stage: Stage, policy: Any, statuses: list[int]) -> None:
    """Open, closed, or up to a share of the cap in the local store; whatever passes says so."""
    view = registry(usd(2_000, on_store_failure=policy, local_share=0.1), store=StoreSettings(kind="redis"))
    stage.shared.is_away = True
    told = [await stage.ask(view, id=f"id-{number}") for number in range(3)]
    assert [one.status for one in told] == statuses
    passed = [one for one in told if one.status == 200]
    assert all(one.own["degraded"] == "store-unavailable" and one.account.held for one in passed)
    assert all(one.error["code"] == "store_unavailable" for one in told if one.status == 503)
    assert stage.tally.without_store == len(passed)
    outcomes = {"fail_open": {}, "fail_closed": {"money": {"unavailable": 3}}, "local_share": {"money": {"refused": 1}}}
    assert stage.tally.by_budget == outcomes[policy]


async def test_what_a_silent_store_may_have_set_aside_is_given_back(stage: Stage) -> None:
    """A refusal leaves nothing behind, although nobody knows whether the store had heard."""
    view = registry(usd(2_000, on_store_failure="fail_closed"))
    stage.shared.is_away = True
    told = await stage.ask(view, id="id-1")
    stage.shared.is_away = False
    await stage.admission.aclose()
    assert told.status == 503
    assert [release.reservation for release in stage.shared.released] == ["id-1"]


async def test_places_that_were_decided_around_keep_nothing_of_what_was_asked_of_them(stage: Stage) -> None:
    """Nobody knows what a silent store set aside for the first choice; what goes elsewhere is settled elsewhere."""
    closed = Budget("large-cap", "usd", 10_000, DAY, match=(("model", "large"),), on_store_failure="fail_closed")
    view = registry(closed, store=StoreSettings(kind="redis"))
    stage.shared.is_away = True
    told = await stage.ask(view, "either", id="id-1")
    stage.shared.is_away = False
    await stage.admission.aclose()
    assert (told.status, told.first, told.account.held) == (200, "small", ())
    assert [release.reservation for release in stage.shared.released] == ["id-1"]


KEYED: dict[str, Any] = {
    "keys": {
        "k1": KeyGrant("k1", "acme", ((digest_of(KEY, b"s" * 16), None),), user="ann", features=("beta",), tags={"a": "b"})
    },
    "tenants": {"acme": Tenant(tier="premium")},
}
BEARER = {"authorization": f"Bearer {KEY}"}


async def test_who_asks_is_told_to_the_filters_behind_and_to_the_ledger(stage: Stage) -> None:
    """Also where no budget counts the request."""
    told = await stage.ask(registry(**KEYED), headers=BEARER)
    assert told.metadata["router.caller"] == {
        "tenant": "acme",
        "team": "",
        "user": "ann",
        "key": "k1",
        "tier": "premium",
        "features": ["beta"],
        "tags": {"a": "b"},
    }
    assert (told.account.tenant, told.account.key, told.account.held) == ("acme", "k1", ())
    assert KEY not in str(told.answers)


async def test_without_a_valid_key_nobody_gets_in(stage: Stage) -> None:
    """Neither to a model nor to the list of models; nothing is set aside."""
    view = registry(usd(1_000), **KEYED)
    models = {":method": "GET", ":path": "/v1/models"}
    for told in (await stage.ask(view), await stage.ask(view, headers=models, has_body=False)):
        assert (told.status, told.error["type"]) == (401, "authentication_error")
        assert "router.caller" not in told.metadata
    assert stage.tally.admitted == 0


async def test_a_refusal_tells_the_log_who_was_refused(stage: Stage) -> None:
    """The caller is in the metadata of a 429 as of any other answer."""
    told = await stage.ask(registry(usd(0), **KEYED), headers=BEARER)
    assert told.status == 429
    assert told.metadata["router.caller"]["tenant"] == "acme"


def rpm(cap: int, model: str) -> Budget:
    return Budget(
        f"provider:{model}", "requests", cap, Window(rolling_seconds=60), match=(("model", model),), downgrade_at=None
    )


async def test_a_full_place_is_passed_over(stage: Stage) -> None:
    """The next one of the chain answers, as long as there is one."""
    view = registry(rpm(1, "large"), waiting=Waiting(max_wait_ms=0))
    assert [(await stage.ask(view, "either")).first for _ in range(3)] == ["large", "small", "small"]
    assert (await stage.ask(view, "large")).status == 429


async def test_a_place_that_was_full_a_moment_ago_is_passed_over_without_asking(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One question a request, as when there is room everywhere; where nobody else has room the store is asked all the same."""
    monkeypatch.setattr(full_places, "REMEMBERED_SECONDS", 60)
    view = registry(rpm(1, "large"), usd(100_000), waiting=Waiting(max_wait_ms=0))
    for _ in range(2):
        await stage.ask(view, "either")
    before = stage.shared.questions
    told = await stage.ask(view, "either")
    assert (told.first, stage.shared.questions - before) == ("small", 1)
    assert (await stage.ask(view, "large")).status == 429
    assert stage.shared.questions - before == 2


async def test_when_no_place_has_room_a_request_waits_for_one(stage: Stage) -> None:
    """Envoy is told to be patient, and the request goes on as soon as another one has ended."""
    parallel = Budget("provider:p", "parallel", 1, Window(), match=(("provider", "p"),), downgrade_at=None)
    view = registry(parallel, waiting=Waiting(max_wait_ms=3_000))
    first = await stage.ask(view, id="first")
    assert first.account.held[0].amount == 1
    second = asyncio.create_task(stage.ask(view))
    await stage.is_waiting.wait()
    assert not second.done()
    await stage.shared.release([Release("first", (first.account.held[0].counter,))], time.time())
    async with asyncio.timeout(5):
        assert (await second).status == 200
    assert stage.tally.waited >= 1


async def test_waiting_has_an_end(stage: Stage) -> None:
    """Who has waited long enough is refused with the time after which it is worth while."""
    parallel = Budget("provider:p", "parallel", 1, Window(), match=(("provider", "p"),), downgrade_at=None)
    view = registry(parallel, waiting=Waiting(max_wait_ms=150))
    await stage.ask(view)
    started = time.monotonic()
    assert (await stage.ask(view)).status == 429
    assert 0.1 < time.monotonic() - started < 3


async def test_a_client_that_leaves_takes_nothing_with_it(stage: Stage) -> None:
    """What was asked for in its name is given back."""
    parallel = Budget("provider:p", "parallel", 1, Window(), match=(("provider", "p"),), downgrade_at=None)
    view = registry(parallel, usd(1_000), waiting=Waiting(max_wait_ms=3_000))
    await stage.ask(view)
    waiting = asyncio.create_task(stage.ask(view, id="gone"))
    await stage.is_waiting.wait()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await stage.admission.aclose()
    assert "gone" in {release.reservation for release in stage.shared.released}


async def loop(stage: Stage, view: Registry, times: int, *, session: str = "s", step: int = 0, **more: Any) -> list[Told]:
    """An agent that calls one tool over and over; with a ``step`` its arguments change each time."""
    told = []
    for number in range(times):
        calls = [{"id": f"call_{number}", "function": {"name": "look", "arguments": f'{{"page": {number * step}}}'}}]
        said = [
            {"role": "user", "content": "Find it."},
            {"role": "assistant", "tool_calls": calls},
            {"role": "tool", "tool_call_id": f"call_{number}", "content": "nothing here"},
        ]
        headers = {"x-router-session": session} | more
        told.append(await stage.ask(view, headers=headers, messages=said, tools=[{"type": "function"}]))
    return told


async def test_a_session_that_goes_round_in_circles_is_warned_asked_to_sum_up_and_stopped(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """First a word in the reason, then no tools and a last line, then an error that explains itself."""
    view = registry(loop_guard=LoopGuard(mode="enforce", repeats=5))
    told = await loop(stage, view, 6)
    assert [one.status for one in told] == [200] * 5 + [429]
    assert [one.reason.partition("+")[2] for one in told[:5]] == ["", "", "", "loop-warned", "loop-summary"]
    assert told[3].body is None
    assert "tools" not in told[4].body
    assert told[4].body["messages"][-1]["role"] == "system"
    assert told[5].error["code"] == "loop_stopped"
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_a_long_honest_session_goes_on(stage: Stage) -> None:
    """Each step does something else; and sessions, or requests without one, do not count for each other."""
    view = registry(loop_guard=LoopGuard(mode="enforce", repeats=3))
    assert {one.status for one in await loop(stage, view, 12, step=1)} == {200}
    assert {one.status for session in "abcde" for one in await loop(stage, view, 2, session=session)} == {200}
    assert {one.status for one in await loop(stage, view, 6, session="")} == {200}


async def test_what_names_no_model_is_counted_too(stage: Stage) -> None:
    """Files and batches have no tokens and no price, but somebody who asks and a place where they go."""
    model = build.model("any", deployments=(build.deployment("p/any", "any", paths=("/v1/files*",)),))
    pace = Budget("pace", "requests", 1, MINUTE, per=("key",))
    view = build.registry(model, spending=Spending(budgets=(pace,), **KEYED))
    headers = BEARER | {":method": "GET", ":path": "/v1/files"}
    told = await stage.ask(view, headers=headers, has_body=False)
    assert (told.status, told.account.key, told.first) == (200, "k1", "any")
    assert (await stage.ask(view, headers=headers, has_body=False)).status == 429


async def test_the_name_of_a_session_is_bounded(stage: Stage) -> None:
    """It travels through metadata and log; long ones stay different."""
    sessions = ["s", " s ", "x" * 5_000, "x" * 5_000 + "y"]
    view = registry(usd(10_000))
    names = [(await stage.ask(view, headers={"x-router-session": name})).account.session for name in sessions]
    assert names[:2] == ["s", "s"]
    assert len(set(names[2:])) == 2
    assert max(len(name) for name in names) <= 128


async def test_a_dry_run_sets_nothing_aside(stage: Stage) -> None:
    """Who asks is still asked for a key, and held against permissions."""
    view = registry(usd(1_000), **KEYED)
    dry = {"x-router-dry-run": "1"}
    assert (await stage.ask(view, headers=dry)).status == 401
    assert (await stage.ask(view, headers=dry | BEARER)).status == 200
    assert stage.tally.admitted == 0


def foretold(told: Told) -> Any:
    assert told.immediate is not None
    return json.loads(told.immediate.body)["admission"]


async def test_a_dry_run_tells_what_budgets_would_make_of_the_request(stage: Stage) -> None:
    """How full they are, and what would follow: nothing is set aside by it, and the request in earnest goes that way."""
    view, dry = registry(usd(1_700)), {"x-router-dry-run": "1"}
    assert (await stage.ask(view, "large")).status == 200
    told = await stage.ask(view, "either", headers=dry)
    again = await stage.ask(view, "either", headers=dry)
    document = foretold(told)
    assert foretold(again) == document
    money = document["budgets"][0]
    assert document["levels_known"]
    assert (money["settled"], money["reserved"], money["wanted"], money["outcome"]) == (
        ("0.000000", "0.001000", "0.001000", "no room")
    )
    assert document["refusal"] is None
    assert document["reasons"] == ["max-tokens-lowered:money"]
    assert document["max_output_tokens"] == 70
    assert stage.tally.admitted == 1


async def test_a_dry_run_without_the_store_says_that_levels_are_not_known(stage: Stage) -> None:
    """Which budgets apply is told all the same."""
    stage.shared.is_away = True
    told = await stage.ask(registry(usd(1_500)), headers={"x-router-dry-run": "1"})
    document = foretold(told)
    assert (document["levels_known"], document["budgets"][0]["settled"]) == (False, None)


async def test_a_dry_run_where_nothing_is_counted_has_no_word_of_budgets(stage: Stage) -> None:
    """There is nothing to tell."""
    told = await stage.ask(registry(), headers={"x-router-dry-run": "1"})
    assert foretold(told) is None


def quota(seconds: float, unit: str = "requests") -> Health:
    return Health(deployments={"p/small@1": DeploymentHealth(quota_until=time.time() + seconds, quota_unit=unit)})


@pytest.mark.parametrize("budgets", [(), (usd(1_000),)], ids=["unlimited", "limited"])
async def test_a_request_waits_for_a_quota_that_its_provider_gives_back_soon(stage: Stage, budgets: tuple[Budget, ...]) -> None:
    """Only when no other place has room, and no longer than anybody may wait."""
    view = registry(*budgets, waiting=Waiting(max_wait_ms=5_000))
    started = time.monotonic()
    stage.health = quota(0.5)
    assert (await stage.ask(view)).status == 200
    assert 0.4 < time.monotonic() - started < 5
    assert stage.is_waiting.is_set()
    stage.is_waiting.clear()
    stage.health = quota(0.2)
    assert (await stage.ask(view, "either")).status == 200
    assert not stage.is_waiting.is_set()


@pytest.mark.parametrize("unit", ["requests", "tokens"])
@pytest.mark.parametrize("budgets", [(), (usd(1_000),)], ids=["unlimited", "limited"])
@pytest.mark.parametrize(
    ("seconds", "waiting"), [(30.9, Waiting()), (1.9, Waiting(max_waiters=0))], ids=["too long", "a full waiting room"]
)
async def test_a_quota_that_nobody_can_wait_for_is_a_429(
    stage: Stage, budgets: tuple[Budget, ...], seconds: float, waiting: Waiting, unit: str
) -> None:
    """It says of what the quota is and when it resets; the provider is asked all the same only where that is wished."""
    stage.health = quota(seconds, unit)
    refused = await stage.ask(registry(*budgets, waiting=waiting))
    assert (refused.status, refused.error["code"], refused.error["type"]) == (429, "rate_limit_exceeded", unit)
    assert refused.headers["retry-after"] == str(math.ceil(seconds))
    told = {name: value for name, value in refused.headers.items() if name.startswith("x-ratelimit-")}
    assert told == {f"x-ratelimit-remaining-{unit}": "0", f"x-ratelimit-reset-{unit}": f"{math.ceil(seconds)}s"}
    assert refused.headers["x-should-retry"] == "false"
    anyway = replace(waiting, learned="try")
    assert (await stage.ask(registry(*budgets, waiting=anyway))).status == 200


SLOTS = Budget("slots", "parallel", 1, downgrade_at=None)


def _held(folder: Path, store: str = "shared") -> set[tuple[str, str]]:
    """What is set aside, by counter and reservation, of every counter."""
    with closing(sqlite3.connect(folder / f"{store}.sqlite")) as connection:
        return set(connection.execute("select counter, reservation from holds"))


async def test_a_request_in_parallel_is_counted_in_its_envoys_life(stage: Stage, tmp_path: Path) -> None:
    """In the same reservation; its account names that counter too, so that its line gives both back."""
    told = await stage.ask(registry(SLOTS, usd(1_000)), id="id-7", life="one")
    [slots, money, life] = told.account.held
    assert life.counter == counter_of(stage.lives.mark("one"), slots.counter)
    assert (life.unit, life.amount, life.limit, life.budget) == ("parallel", 1, 0, "")
    assert _held(tmp_path) == {(held.counter, "id-7") for held in (slots, money, life)}
    assert told.own["budget_remaining"] == "0.000900"


@pytest.mark.parametrize(("budget", "life"), [(SLOTS, ""), (SLOTS, "-"), (usd(1_000), "one")])
async def test_nothing_is_counted_in_a_life_without_need(stage: Stage, budget: Budget, life: str) -> None:
    """Where Envoy has no name, and where nothing ends with it."""
    told = await stage.ask(registry(budget), life=life)
    assert [held.budget for held in told.account.held] == [budget.name]


async def test_a_refused_request_is_in_no_life(stage: Stage, tmp_path: Path) -> None:
    """It has nothing set aside at all."""
    view = registry(SLOTS)
    await stage.ask(view, id="first", life="one")
    refused = await stage.ask(view, life="one")
    assert (refused.status, refused.error["code"]) == (429, "rate_limit_exceeded")
    assert {reservation for _, reservation in _held(tmp_path)} == {"first"}


async def test_a_request_that_becomes_a_smaller_one_is_in_its_life_once(stage: Stage, tmp_path: Path) -> None:
    """What was set aside for the dearer model is given back with its place in the life, and set aside anew."""
    view = registry(replace(SLOTS, cap=9), usd(10_000, downgrade_at=0.5))
    for number in range(5):
        await stage.ask(view, "either", id=f"id-{number}", life="one")
    told = await stage.ask(view, "either", id="id-7", life="one")
    assert told.reason.endswith("+budget-downgrade:money")
    own = {(counter, reservation) for counter, reservation in _held(tmp_path) if reservation == "id-7"}
    assert own == {(held.counter, "id-7") for held in told.account.held}
    assert len(told.account.held) == 3


async def test_without_the_store_a_life_is_counted_in_this_instances_own(stage: Stage, tmp_path: Path) -> None:
    """Beside the share that is taken there; the line gives back whatever the silent store may have set aside as well."""
    stage.shared.is_away = True
    told = await stage.ask(registry(replace(SLOTS, on_store_failure="local_share", local_share=1.0)), id="id-7", life="one")
    counters = {held.counter for held in told.account.held}
    assert {counter for counter, _ in _held(tmp_path, "local")} < counters
    assert len(counters) == 4
