"""Admission: what a decided request may cost is set aside before anybody is called, or the request becomes a smaller one.

Rules of this file
- ``limits`` says what to ask and what follows; here it is asked and done. One answer of the store is enough for a request
  that fits.
- Nothing stays set aside for a request that does not go on, unless nobody can say whether it does: that expires.
- A store that does not answer is no reason to wait: each budget says what happens without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Collection, Coroutine, Sequence

from msgspec.structs import replace

from router_extproc.account import Held
from router_extproc.caller import INTERACTIVE
from router_extproc.decision import NO_CONSTRAINTS, Constraints, Decision
from router_extproc.errors import RequestError, UnavailableError
from router_extproc.extproc.callers import Callers
from router_extproc.extproc.carried import CarriedAmounts
from router_extproc.extproc.case import Admitted, Case, RefusedError, Stores
from router_extproc.extproc.full_places import FullPlaces
from router_extproc.extproc.waiting import NoRoomError, WaitingRoom
from router_extproc.limits.claims import Claim, budgets_for, plan
from router_extproc.limits.ladder import (
    DOWNGRADED,
    LOWERED,
    OVER,
    Again,
    Proceed,
    Refuse,
    Step,
    next_step,
    on_store_failure,
)
from router_extproc.limits.rehearsal import rehearse, with_levels
from router_extproc.limits.unambiguous import refuse_ambiguous
from router_extproc.outlook import Rehearsal
from router_extproc.registry.spending import Budget, Spending
from router_extproc.store import lives
from router_extproc.store.counters import CounterStore, Hold, Release, StoreUnavailableError, Verdict
from router_extproc.telemetry import worker_figures
from router_extproc.telemetry.worker_figures import Admissions

# What the reasons that name a budget say was made of a request.
_OUTCOMES = {LOWERED: worker_figures.SHORTENED, DOWNGRADED: worker_figures.DOWNGRADED, OVER: worker_figures.FLAGGED}

# The ladder comes to an end by itself; this only bounds what a mistake in it could cost.
_MOST_STEPS = 12
# Envoy waits longer than this for a worker's answer: a conversation that is broken off earlier was broken off by its client.
_CLIENT_LEFT_SECONDS = 9.0
# What was asked of the store and not waited for has arrived there after this time, and can be given back.
_UNDER_WAY_SECONDS = 0.2

# How often somebody looks who waits alone for another request to end, of whichever instance.
_LOOK_AGAIN_SECONDS = 0.02

_log = logging.getLogger(__name__)


class Admission:
    """Admits requests against the budgets of the configuration and of their keys."""

    def __init__(self, stores: Stores, callers: Callers, tally: Admissions, known: lives.Lives | None = None) -> None:
        """``tally`` is counted up. Without ``known`` lives, what an Envoy that dies leaves behind stays set aside."""
        self._stores, self._callers, self._tally, self._lives = stores, callers, tally, known
        self._room = WaitingRoom()
        self._full = FullPlaces()
        self._carried = CarriedAmounts()
        self._errands: set[asyncio.Task[None]] = set()
        self._is_store_there = True

    def is_needed(self, spending: Spending) -> bool:
        """Whether requests are counted at all."""
        return (
            bool(spending.budgets)
            or spending.auth.trusted
            or spending.loop_guard.mode != "off"
            or self._callers.mode(spending) != "none"
        )

    async def admit(self, case: Case) -> Admitted:
        """Sets aside what the request may cost, after making it smaller where it must be.

        Raises:
            RefusedError: it is refused; nothing is set aside.
            RequestError: it cannot be decided or checked now.
        """
        started = time.monotonic()
        try:
            return await self._admit(case)
        except RefusedError as refused:
            self._count_refusal(refused.step)
            raise
        except asyncio.CancelledError:
            # The client left while its answer was being made. Where Envoy lost patience instead it asks another worker, whose
            # reservation must not be given back: that one is left to expire.
            if time.monotonic() - started < _CLIENT_LEFT_SECONDS:
                self._give_back(case.reservation, case.asked)
            raise
        finally:
            self._tally.seconds += time.monotonic() - started

    async def rehearse(self, case: Case) -> Rehearsal:
        """What ``admit`` would do now, from levels that are read; nothing is set aside, counted or waited for.

        Raises:
            RequestError: the caller's key cannot be read now.
        """
        now = time.time()
        readings = rehearse(
            case.request,
            case.decision,
            case.registry,
            self._budgets(case),
            case.decide,
            now,
            session=case.session,
            fingerprint=case.fingerprint,
            token_ratios=case.token_ratios,
        )
        return await with_levels(readings, lambda queries: self._stores.shared.read(queries, now))

    async def wait(self, case: Case, lane: str, until: float) -> None:
        """Waits for a limit that a provider itself told, until the time in epoch seconds.

        Raises:
            NoRoomError: too many wait already.
        """
        await case.be_patient()
        self._tally.waited += 1
        most, priority = case.registry.spending.waiting.max_waiters, case.request.caller.priority
        async with self._room.turn(lane, priority, until - time.time(), most):
            pass

    def abandon(self, admitted: Admitted) -> None:
        """Gives back what was set aside for a request that does not go on after all."""
        self._give_back(admitted.account.reservation, {held.counter for held in admitted.account.held})

    async def aclose(self) -> None:
        """Waits for what is being given back."""
        await asyncio.gather(*self._errands, return_exceptions=True)

    async def _admit(self, case: Case) -> Admitted:
        refuse_ambiguous(case.request.body)
        waiting = case.registry.spending.waiting
        give_up = time.time() + waiting.max_wait_ms / 1_000
        await self._let_others_go_first(case, give_up)
        outcome = await self._try(case)
        while isinstance(outcome, Refuse):
            refused, until, lane = outcome, outcome.wait_until, outcome.budget
            if until is None or max(until, time.time()) > give_up:
                raise RefusedError(refused)
            await case.be_patient()
            self._tally.waited += 1
            priority = case.request.caller.priority
            try:
                now = time.time()
                seconds = max(until - now, _LOOK_AGAIN_SECONDS)
                async with self._room.turn(lane, priority, seconds, waiting.max_waiters, give_up - now):
                    outcome = await self._try(case)
                    if isinstance(outcome, Refuse) and outcome.budget == lane:
                        self._room.rest(lane)
            except NoRoomError:
                raise RefusedError(refused) from None
        return outcome

    async def _let_others_go_first(self, case: Case, give_up: float) -> None:
        """Batch work leaves what becomes free to interactive work that waits for the same, as long as it may wait itself."""
        priority = case.request.caller.priority
        if priority == INTERACTIVE or not len(self._room):
            return
        lane = self._room.taken_before(priority, (budget.name for budget in self._budgets(case)))
        if lane is None:
            return
        await case.be_patient()
        self._tally.waited += 1
        with contextlib.suppress(TimeoutError, NoRoomError):
            async with asyncio.timeout(give_up - time.time()):
                async with self._room.turn(lane, priority, 0, case.registry.spending.waiting.max_waiters):
                    pass

    async def _try(self, case: Case) -> Admitted | Refuse:
        """Down the ladder, once."""
        budgets = self._budgets(case)
        decision, constraints = case.decision, NO_CONSTRAINTS
        for _ in range(_MOST_STEPS):
            planned = self._plan(case, decision, budgets, constraints)
            claim = await self._carried.add_to(planned, case.registry, lambda: self._stores.shared, time.time())
            guess = self._full.guess(claim, time.monotonic())
            if guess is not None:
                elsewhere = next_step(claim, guess, case.registry, case.request, decision, time.time())
                if isinstance(elsewhere, Again) and (other := _decide_again(case, elsewhere.constraints)) is not None:
                    decision, constraints = other, elsewhere.constraints
                    continue
            step, alone = await self._ask(case, claim, decision)
            smaller = None
            while isinstance(step, Again) and (smaller := _decide_again(case, step.constraints)) is None:
                step = step.otherwise
            if isinstance(step, Again) and smaller is not None:
                await self._make_room(case, step.release, alone=alone)
                decision, constraints = smaller, step.constraints
            elif isinstance(step, Proceed):
                self._give_back(case.reservation, case.unanswered - {held.counter for held in step.account.held})
                return self._admitted(case, decision, step)
            elif isinstance(step, Refuse):
                return step
        raise UnavailableError("No place was found within the limits that hold.", code="limits_undecided", retry_after=1)

    def _budgets(self, case: Case) -> Sequence[Budget]:
        grant = self._callers.grant_of(case.request.caller, case.registry.spending)
        return budgets_for(case.registry, grant, self._callers.raises())

    def _plan(self, case: Case, decision: Decision, budgets: Sequence[Budget], constraints: Constraints) -> Claim:
        return plan(
            case.request,
            decision,
            case.registry,
            budgets,
            time.time(),
            reservation=case.reservation,
            session=case.session,
            fingerprint=case.fingerprint,
            constraints=constraints,
            token_ratios=case.token_ratios,
        )

    async def _ask(self, case: Case, claim: Claim, decision: Decision) -> tuple[Step, bool]:
        """What follows from the answer of the store; True: from that of this instance alone, because the other is away."""
        if not claim.holds:
            return next_step(claim, _NOTHING_ASKED, case.registry, case.request, decision, time.time()), False
        try:
            verdict = await self._reserve(case, claim, alone=False)
        except StoreUnavailableError:
            case.unanswered.update(hold.counter for hold in claim.holds)
            self._notice_store(is_there=False)
        else:
            self._notice_store(is_there=True)
            self._full.learn(claim, verdict, time.monotonic())
            return next_step(claim, verdict, case.registry, case.request, decision, time.time()), False
        alone = on_store_failure(claim)
        if isinstance(alone, Refuse):
            # The store may have set something aside and only failed to say so.
            self._give_back(case.reservation, case.asked)
            return alone, True
        if isinstance(alone, Again):
            return alone, True
        try:
            verdict = await self._reserve(case, alone.claim, alone=True)
        except StoreUnavailableError:
            self._give_back(case.reservation, case.asked)
            error = UnavailableError("Budgets cannot be checked at the moment.", code="store_unavailable", retry_after=1)
            return Refuse(error), True
        return next_step(alone.claim, verdict, case.registry, case.request, decision, time.time()), True

    async def _reserve(self, case: Case, claim: Claim, *, alone: bool) -> Verdict:
        if not claim.holds:
            return _NOTHING_ASKED
        now = time.time()
        until = now + case.registry.spending.store.reservation_ms / 1_000
        holds = (*claim.holds, *self._in_life(case, claim, until))
        case.asked.update(hold.counter for hold in holds)
        verdict = await self._store(alone=alone).reserve(case.reservation, holds, until, now)
        return verdict if holds == claim.holds else replace(verdict, levels=verdict.levels[: len(claim.holds)])

    def _in_life(self, case: Case, claim: Claim, until: float) -> tuple[Hold, ...]:
        """Counts a request that takes part in limits on requests in parallel among those of Envoy's life."""
        pairs = zip(claim.holds, claim.budgets, strict=True)
        beside = next((hold.counter for hold, budget in pairs if budget.unit == "parallel"), None)
        mark = self._lives.mark(case.life) if beside is not None and self._lives is not None else ""
        if beside is None or not mark:
            return ()
        return (Hold(lives.counter_of(mark, beside), 0, 0, 1, 0, "count", int(until)),)

    def _store(self, *, alone: bool) -> CounterStore:
        return self._stores.local if alone else self._stores.shared

    async def _make_room(self, case: Case, counters: tuple[str, ...], *, alone: bool) -> None:
        """Gives back what an answer that is not taken has set aside."""
        if counters:
            counters = (*counters, *_of_lives(case))
            # What stays set aside only makes the next answer stricter.
            with contextlib.suppress(StoreUnavailableError):
                await self._store(alone=alone).release([Release(case.reservation, counters)], time.time())

    def _admitted(self, case: Case, decision: Decision, step: Proceed) -> Admitted:
        tally = self._tally
        tally.admitted += 1
        tally.flagged += bool(step.flagged)
        tally.observed += bool(step.observed)
        tally.without_store += step.degraded
        for reason in step.reasons:
            kind, _, budget = reason.partition(":")
            tally.shortened += kind == LOWERED
            tally.downgraded += kind == DOWNGRADED
            if kind in _OUTCOMES:
                tally.count(budget, _OUTCOMES[kind])
        for budget in step.observed:
            tally.count(budget, worker_figures.OBSERVED)
        if step.reasons:
            decision = replace(decision, reason="+".join((decision.reason, *step.reasons)))
        account = step.account
        if in_life := _of_lives(case):
            held = (Held(counter, "parallel", 0, 0, 1, 0) for counter in in_life)
            account = replace(account, held=(*account.held, *held))
        return Admitted(
            decision=decision,
            account=account,
            max_output_tokens=step.max_output_tokens,
            figures=step.figures,
            flagged=step.flagged,
            observed=step.observed,
            degraded=step.degraded,
            system_line=step.system_line,
        )

    def _count_refusal(self, step: Refuse) -> None:
        """By the budget that the error names; where there is none, nobody's budget could be read."""
        if step.budget:
            was_read = not isinstance(step.error, UnavailableError)
            self._tally.count(step.budget, worker_figures.REFUSED if was_read else worker_figures.UNAVAILABLE)

    def _notice_store(self, *, is_there: bool) -> None:
        if is_there == self._is_store_there:
            return
        self._is_store_there = is_there
        if is_there:
            _log.warning("the store answers again: budgets are shared")
        else:
            _log.error("the store does not answer: each budget goes by its on_store_failure")

    def _give_back(self, reservation: str, counters: Collection[str]) -> None:
        """Gives back what was asked for, wherever that was, without keeping anybody waiting."""
        if not counters:
            return
        release = Release(reservation, tuple(sorted(counters)))
        self._run(self._release(release, alone=False))
        if not self._is_store_there:
            self._run(self._release(release, alone=True))

    async def _release(self, release: Release, *, alone: bool) -> None:
        await asyncio.sleep(_UNDER_WAY_SECONDS)
        with contextlib.suppress(StoreUnavailableError):
            await self._store(alone=alone).release([release], time.time())

    def _run(self, work: Coroutine[None, None, None]) -> None:
        errand = asyncio.get_running_loop().create_task(work)
        self._errands.add(errand)
        errand.add_done_callback(self._errands.discard)


_NOTHING_ASKED = Verdict(())


def _of_lives(case: Case) -> tuple[str, ...]:
    """The counters of Envoy's life in which something was asked for."""
    return tuple(sorted(counter for counter in case.asked if counter.startswith(lives.PREFIX)))


def _decide_again(case: Case, constraints: Constraints) -> Decision | None:
    try:
        return case.decide(constraints)
    except RequestError:
        return None
