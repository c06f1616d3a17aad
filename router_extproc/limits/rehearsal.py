"""What budgets would make of a request, without setting anything aside: for ``explain`` and dry runs.

Rules of this file
- The same plan and the same ladder as in earnest; only the store's answer is worked out from levels that were read.
- Whoever calls reads the levels: a generator asks for them, and ``with_levels`` passes on what it is told. Where nobody can
  read them, counters are taken as empty, and what is shown says so.
- Money is decimal text in USD, other units are whole numbers: this is read by people and scripts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence

from msgspec.structs import replace

from router_extproc.account import Unit
from router_extproc.decision import NO_CONSTRAINTS, Constraints, Decision
from router_extproc.errors import RequestError, UnavailableError
from router_extproc.limits.claims import Claim, plan
from router_extproc.limits.counter_names import scope_of
from router_extproc.limits.ladder import Again, Proceed, Refuse, Step, next_step
from router_extproc.limits.rollover import Carry, carries_of, most_used, with_carried
from router_extproc.limits.selection import labels_of
from router_extproc.limits.unambiguous import refuse_ambiguous
from router_extproc.limits.windows import NEVER
from router_extproc.outlook import Amount, BudgetLookedAt, Refused, Rehearsal
from router_extproc.registry.health import NO_RATIOS
from router_extproc.registry.snapshot import Registry
from router_extproc.registry.spending import Budget
from router_extproc.request import Request
from router_extproc.store.counters import Hold, Level, Query, StoreUnavailableError, Verdict

_MICRO = 1_000_000
# As in earnest: the ladder ends by itself, this bounds a mistake in it.
_MOST_STEPS = 12

Readings = Generator[tuple[Query, ...], Sequence[Level] | None, Rehearsal]
"""Asks for levels, and is sent them in this order; None: they cannot be read. Returns the rehearsal."""


def rehearse(  # noqa: PLR0917 - what admission goes by
    request: Request,
    decision: Decision,
    registry: Registry,
    budgets: Sequence[Budget],
    decide: Callable[[Constraints], Decision],
    now: float,
    *,
    session: str = "",
    fingerprint: str = "",
    token_ratios: Mapping[str, float] = NO_RATIOS,
) -> Readings:
    """Down the ladder with the levels that it is sent. ``decide`` decides again under constraints; the rest is as for
    ``plan``. Raises nothing that admission would: that is in the rehearsal.
    """
    levels: dict[tuple[str, int], Level] = {}
    looked_at: dict[str, BudgetLookedAt] = {}
    is_known, constraints = True, NO_CONSTRAINTS
    labels = labels_of(request, decision.route, session)
    try:
        refuse_ambiguous(request.body)
        for _ in range(_MOST_STEPS):
            claim = plan(
                request,
                decision,
                registry,
                budgets,
                now,
                reservation="",
                session=session,
                fingerprint=fingerprint,
                constraints=constraints,
                token_ratios=token_ratios,
            )
            carries = carries_of(claim)
            queries = [*map(_query, claim.holds), *(query for carry in carries for query in carry.queries)]
            missing = tuple(query for query in dict.fromkeys(queries) if (query.counter, query.since) not in levels)
            if missing and is_known:
                read = yield missing
                is_known = read is not None
                levels.update(zip(((one.counter, one.since) for one in missing), read or (), strict=False))
            claim = with_carried(claim, _used(carries, levels, registry, now))
            verdict = _verdict(claim, [levels.get((hold.counter, hold.since), Level()) for hold in claim.holds])
            _look_at(looked_at, claim, verdict, labels, is_known=is_known)
            step, smaller = _decided(decide, next_step(claim, verdict, registry, request, decision, now))
            if isinstance(step, Again) and smaller is not None:
                decision, constraints = smaller, step.constraints
                continue
            shown = Rehearsal(is_known, tuple(looked_at.values()), closed=constraints.closed)
            return _concluded(shown, step, decision)
        raise UnavailableError("No place was found within the limits that hold.", code="limits_undecided", retry_after=1)
    except RequestError as error:
        return Rehearsal(is_known, tuple(looked_at.values()), refusal=_refused(error))


async def with_levels(readings: Readings, read: Callable[[tuple[Query, ...]], Awaitable[Sequence[Level]]]) -> Rehearsal:
    """The rehearsal with the levels that ``read`` tells; where it raises ``StoreUnavailableError``, counters count as empty."""
    levels: Sequence[Level] | None = None
    while True:
        try:
            queries = readings.send(levels)
        except StopIteration as end:
            rehearsal: Rehearsal = end.value
            return rehearsal
        try:
            levels = await read(queries)
        except StoreUnavailableError:
            levels = None


def _concluded(shown: Rehearsal, step: Step, decision: Decision) -> Rehearsal:
    if isinstance(step, Refuse):
        return replace(shown, refusal=_refused(step.error))
    return replace(
        shown,
        reasons=step.reasons if isinstance(step, Proceed) else (),
        chain=tuple(attempt.deployment for attempt in decision.chain),
        max_output_tokens=step.max_output_tokens if isinstance(step, Proceed) else None,
    )


def _decided(decide: Callable[[Constraints], Decision], step: Step) -> tuple[Step, Decision | None]:
    """The step that can be taken, with the decision that it leads to."""
    while isinstance(step, Again):
        try:
            return step, decide(step.constraints)
        except RequestError:
            step = step.otherwise
    return step, None


def _used(
    carries: Sequence[Carry], levels: Mapping[tuple[str, int], Level], registry: Registry, now: float
) -> dict[Carry, int]:
    """What the last windows used; those that nobody can read are missing."""
    found = {}
    for carry in carries:
        since_previous, since_this = (levels.get((query.counter, query.since)) for query in carry.queries)
        if since_previous is not None and since_this is not None:
            found[carry] = most_used(since_previous, since_this, is_settled=carry.is_settled(registry, now))
    return found


def _query(hold: Hold) -> Query:
    return Query(hold.counter, hold.since)


def _verdict(claim: Claim, levels: Sequence[Level]) -> Verdict:
    """What the store would answer. When settled amounts leave a rolling window is not known here: its next part is named."""
    refused, beyond, free_at = [], [], []
    for index, (hold, level) in enumerate(zip(claim.holds, levels, strict=True)):
        if hold.kind == "count" or level.used + hold.amount <= hold.limit:
            continue
        if hold.kind == "observe":
            beyond.append(index)
            continue
        refused.append(index)
        resets_at = claim.resets_at[index]
        is_spent = level.settled + hold.amount > hold.limit
        free_at.append(float(NEVER if resets_at is None else resets_at) if is_spent else None)
    return Verdict(tuple(levels), tuple(refused), tuple(beyond), tuple(free_at))


def _look_at(
    looked_at: dict[str, BudgetLookedAt], claim: Claim, verdict: Verdict, labels: Mapping[str, str], *, is_known: bool
) -> None:
    """Adds the budgets of a claim that were not met before."""
    for index, (hold, budget, level) in enumerate(zip(claim.holds, claim.budgets, verdict.levels, strict=True)):
        if hold.counter in looked_at:
            continue
        places = claim.account.held[index].deployments
        looked_at[hold.counter] = BudgetLookedAt(
            name=budget.name,
            scope=scope_of(budget, labels),
            unit=budget.unit,
            mode=budget.mode,
            cap=_amount(budget.unit, hold.limit),
            wanted=_amount(budget.unit, hold.amount),
            settled=_amount(budget.unit, level.settled) if is_known else None,
            reserved=_amount(budget.unit, level.held) if is_known else None,
            outcome=_outcome(index, hold, level, verdict),
            resets_at=claim.resets_at[index],
            deployments=places or None,
        )


def _outcome(index: int, hold: Hold, level: Level, verdict: Verdict) -> str:
    if index in verdict.refused:
        return "no room"
    if index in verdict.beyond:
        return "would refuse"
    return "over, let pass" if level.used + hold.amount > hold.limit else "fits"


def _amount(unit: Unit, amount: int) -> Amount:
    return f"{amount // _MICRO}.{amount % _MICRO:06d}" if unit == "usd" else amount


def _refused(error: RequestError) -> Refused:
    return Refused(error.status, error.code, error.message, error.retry_after)
