"""From a decision to what is to be set aside for it: which budgets it falls under, in which counters, how much in each.

Rules of this file
- A budget that refuses is asked for an upper bound. What the bound rests on is written into the body, so that it holds.
- A budget that observes is asked for the bound of the shortest useful answer: what does not fit even then, the budget would
  have refused. One that only flags is asked for the likely amount.
- A budget on a place counts each place of the chain, for its own part. A provider's own limit is asked of the first place
  alone: were it asked of all, requests would fill limits of places that they never reach.
- Everything that settling needs is written into the account: whoever settles knows no registry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import replace

from router_extproc.account import Account, Held, Purpose
from router_extproc.caller import BATCH
from router_extproc.decision import NO_CONSTRAINTS, Constraints, Decision
from router_extproc.limits.bound import UNKNOWN_OUTPUT_TOKENS, Measure, measure
from router_extproc.limits.counter_names import counter_name
from router_extproc.limits.loop_guard import FINGERPRINT, guard_budgets
from router_extproc.limits.selection import Budgets, budgets_for, cap_at, is_provider_limit, labels_of, matches, place_labels
from router_extproc.limits.shares import portion
from router_extproc.limits.uncounted import refuse_unpriced, refuse_unseen
from router_extproc.limits.windows import Part, part
from router_extproc.registry.health import NO_RATIOS
from router_extproc.registry.snapshot import Registry
from router_extproc.registry.spending import Budget, Spending
from router_extproc.request import Request
from router_extproc.store.counters import Hold, HoldKind

__all__ = ["Claim", "budgets_for", "cap_at", "counter_name", "labels_of", "plan"]

_MEASURED = ("usd", "tokens")


class Claim(msgspec.Struct, frozen=True):
    """What one request wants of the store; ``budgets`` and ``resets_at`` are parallel to ``holds``.

    ``account`` is what would be settled if everything is set aside: take the one of ``Proceed`` instead, which leaves out what
    was not. ``max_output_tokens`` is the limit of each answer that the bound rests on and that must be written into the body;
    None: the client's body says it already, or nobody asks. ``resets_at`` is when a hold's part of a window no longer counts,
    in epoch seconds. ``constraints`` are those that the decision was made under. ``is_degraded``: made for a local store.
    """

    holds: tuple[Hold, ...]
    budgets: tuple[Budget, ...]
    account: Account
    measure: Measure
    max_output_tokens: int | None = None
    resets_at: tuple[int | None, ...] = ()
    constraints: Constraints = NO_CONSTRAINTS
    is_degraded: bool = False


class _Wanted(msgspec.Struct, frozen=True):
    """One counter of one budget, with the places it counts; None of them named: all."""

    budget: Budget
    counter: str
    deployments: tuple[str, ...] = ()


def plan(
    request: Request,
    decision: Decision,
    registry: Registry,
    budgets: Sequence[Budget],
    now: float,
    *,
    reservation: str,
    session: str = "",
    fingerprint: str = "",
    purpose: Purpose = "answer",
    constraints: Constraints = NO_CONSTRAINTS,
    token_ratios: Mapping[str, float] = NO_RATIOS,
) -> Claim:
    """What the decision wants of each budget that the request falls under.

    ``budgets`` come from ``budgets_for``, ``constraints`` are those of the situation that the decision was made in;
    ``reservation`` is the id of the decision, ``session`` what the client calls its conversation, and ``fingerprint`` what
    its requests are compared by (see ``loop_guard``). Without a budget that matches, the claim has no holds and nothing need be
    asked of the store.

    Raises:
        PermissionDeniedError: it would have a provider run what no budget can count.
    """
    labels = labels_of(request, decision.route, session)
    if fingerprint:
        labels[FINGERPRINT] = fingerprint
    found = _which_may_count(budgets, labels, registry.spending)
    measured = _measured(request, decision, registry, token_ratios, found, labels)
    wanted = _wanted(found, labels, measured)
    counting = tuple(one.budget for one in wanted)
    refuse_unseen(request, counting)
    if not measured.is_known:
        refuse_unpriced(request, counting)
    limit = _limit(request, counting, measured, constraints)
    written = None if limit is None else measured.writable(limit)
    first = decision.chain[0].deployment
    lasting = registry.spending.store.reservation_ms // 1_000
    holds, held, resets_at = [], [], []
    for one in wanted:
        window = _part(one.budget, now, lasting)
        amount, kind = _amount(one, measured, limit if written is None else written, first)
        cap = cap_at(one.budget, now)
        room = cap - _left_to_others(one.budget, request, registry.spending, cap)
        holds.append(Hold(one.counter, window.bucket, window.since, amount, room, kind, window.expires_at))
        held.append(_held(one, window, amount, cap))
        resets_at.append(window.resets_at)
    account = _account(request, labels.get("user", ""), measured, tuple(held))
    if written is not None:
        # An answer that was cut short is not estimated at more than it may be: what is settled must fit what was set aside.
        account = replace(account, completion_tokens=min(account.completion_tokens, written * measured.answers))
    return Claim(
        holds=tuple(holds),
        budgets=counting,
        account=replace(account, reservation=reservation, session=session, purpose=purpose),
        measure=measured,
        max_output_tokens=written,
        resets_at=tuple(resets_at),
        constraints=constraints,
    )


def _which_may_count(budgets: Sequence[Budget], labels: Mapping[str, str], spending: Spending) -> list[Budget]:
    """The budgets that these labels may lead to, those of the loop guard included; whether they do the places say as well."""
    likely = budgets.candidates(labels) if isinstance(budgets, Budgets) else budgets
    guards = guard_budgets(spending.loop_guard) if labels.get("session") else ()
    return [budget for budget in (*likely, *guards) if budget.mode != "off"]


def _measured(  # noqa: PLR0917 - what ``measure`` goes by, and for whom
    request: Request,
    decision: Decision,
    registry: Registry,
    token_ratios: Mapping[str, float],
    found: Sequence[Budget],
    labels: Mapping[str, str],
) -> Measure:
    """The request as far as these budgets look at it: what none of them asks for is not worked out."""
    predicts = any(_is_soft(budget) and budget.unit in _MEASURED and matches(budget, labels) for budget in found)
    bounds = any(_rests_on_a_bound(budget) and (budget.is_of_place or matches(budget, labels)) for budget in found)
    return measure(request, decision, registry, token_ratios, predicts=predicts, bounds=bounds)


def _left_to_others(budget: Budget, request: Request, spending: Spending, cap: int) -> int:
    """How much of a provider's limit batch work leaves to interactive work."""
    if request.caller.priority != BATCH or not is_provider_limit(budget):
        return 0
    return portion(spending.waiting.interactive_share, cap)


def _wanted(budgets: Sequence[Budget], labels: Mapping[str, str], measured: Measure) -> list[_Wanted]:
    """The counters that these labels and the places of the chain lead to, each once."""
    found: dict[str, _Wanted] = {}
    for budget in budgets:
        if not budget.is_of_place:
            counter = counter_name(budget, labels) if matches(budget, labels) else None
            if counter is not None:
                found.setdefault(counter, _Wanted(budget, counter))
            continue
        for place in measured.places:
            at_place = place_labels(labels, place)
            counter = counter_name(budget, at_place) if matches(budget, at_place) else None
            if counter is not None:
                before = found[counter].deployments if counter in found else ()
                found[counter] = _Wanted(budget, counter, (*before, place.deployment))
    return list(found.values())


def _is_soft(budget: Budget) -> bool:
    return budget.at_cap == "allow_and_flag"


def _rests_on_a_bound(budget: Budget) -> bool:
    return budget.unit in _MEASURED and not _is_soft(budget) and not is_provider_limit(budget)


def _limit(request: Request, budgets: Sequence[Budget], measured: Measure, constraints: Constraints) -> int | None:
    """The most tokens that each answer may have, apart from the caller's own wish and what models keep to."""
    limits = [constraints.max_output_tokens, request.caller.permissions.max_output_tokens]
    rest_on = [one for one in budgets if one.unit in _MEASURED and one.mode == "enforce" and not _is_soft(one)]
    if measured.wish is None:
        limits += [one.assume_max_output_tokens for one in rest_on]
    if rest_on and not measured.is_bounded:
        limits.append(UNKNOWN_OUTPUT_TOKENS)
    return min((one for one in limits if one is not None), default=None)


def _amount(one: _Wanted, measured: Measure, limit: int | None, first: str) -> tuple[int, HoldKind]:
    """How much is asked of a counter, and how strictly."""
    budget, deployments = one.budget, one.deployments or None
    kind: HoldKind = "observe" if budget.mode == "observe" else "enforce"
    if deployments is not None and is_provider_limit(budget) and budget.unit != "usd":
        if first not in deployments:
            return 0, "count"
        deployments = (first,)
        # As providers do: an answer counts by the limit that is asked for, else by its likely length.
        if budget.unit == "tokens" and limit is None and measured.wish is None:
            return measured.likely("tokens", deployments), kind
        if budget.unit == "tokens" and not _is_soft(budget):
            return measured.requested(limit, deployments), kind
    if _is_soft(budget):
        return measured.likely(budget.unit, deployments), kind if kind == "observe" else "count"
    if limit is None and measured.wish is None:
        limit = budget.assume_max_output_tokens
    if kind == "observe" and deployments is None:
        limit = measured.useful if limit is None else min(limit, measured.useful)
    return measured.most(budget.unit, limit, deployments), kind


def _part(budget: Budget, now: float, lasting: int) -> Part:
    """Requests that are under way at once count as long as they last, whatever the window."""
    if budget.unit != "parallel":
        return part(budget.window, now)
    return Part(0, 0, int(now) + 2 * lasting, None)


def _kept_until(budget: Budget, window: Part) -> int:
    """When nobody asks any more what was settled in the window. Where it leaves something to the next, not before that one's
    end; a window more, because Redis forgets what is as old as the part told last is long, and months differ in length.
    """
    if budget.rollover_since is None or budget.window.calendar is None or budget.unit == "parallel":
        return window.expires_at
    following = part(budget.window, window.expires_at)
    return part(budget.window, following.expires_at).expires_at


def _held(one: _Wanted, window: Part, amount: int, cap: int) -> Held:
    budget = one.budget
    return Held(
        counter=one.counter,
        unit=budget.unit,
        bucket=window.bucket,
        since=window.since,
        amount=amount,
        expires_at=_kept_until(budget, window),
        budget=budget.name,
        limit=cap,
        warn_at=budget.warn_at,
        deployments=one.deployments,
    )


def _account(request: Request, user: str, measured: Measure, held: tuple[Held, ...]) -> Account:
    caller = request.caller
    prompt_tokens, completion_tokens = measured.estimate
    return Account(
        reservation="",
        held=held,
        rates={place.deployment: place.rates for place in measured.places if place.rates is not None},
        tenant=caller.tenant,
        team=caller.team,
        user=user,
        key=caller.key,
        tags=caller.tags,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        detached=measured.detached,
    )
