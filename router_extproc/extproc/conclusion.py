"""How a route leg ends: at once where nothing is counted, else after its request was admitted."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from router_extproc.decision import Constraints, Decision
from router_extproc.errors import RequestError
from router_extproc.extproc.admission import Admission
from router_extproc.extproc.case import Case, RefusedError
from router_extproc.extproc.live import View
from router_extproc.extproc.route_leg import Begun, DryRun, RouteLeg
from router_extproc.extproc.waiting import NoRoomError
from router_extproc.limits.sessions import compared_by
from router_extproc.policy.refusal import quota_refusal
from router_extproc.registry.health import DeploymentHealth

_log = logging.getLogger(__name__)


async def conclude(
    leg: RouteLeg, admission: Admission, be_patient: Callable[[], Awaitable[None]], life: str = ""
) -> list[bytes]:
    """The messages that end the conversation, once everything was taken. ``be_patient`` tells Envoy that it may take longer;
    ``life`` is the name of that Envoy's life.
    """
    begun = leg.begin()
    if isinstance(begun, DryRun):
        return await _conclude_dry_run(leg, begun, admission, be_patient)
    if not isinstance(begun, Begun):
        return begun
    view = leg.view
    used_up = _first_to_reset(begun.decision, view, time.time())
    if used_up is None and not admission.is_needed(view.registry.spending):
        return leg.finish(begun)
    try:
        return await _conclude_slowly(leg, begun, used_up, admission, be_patient, life)
    except RefusedError as refused:
        return leg.refuse(refused.step.error, refused.step.figures, refused.step.budget)
    except RequestError as error:
        return leg.refuse(error)


async def _conclude_dry_run(
    leg: RouteLeg, asked: DryRun, admission: Admission, be_patient: Callable[[], Awaitable[None]]
) -> list[bytes]:
    request, view, decision = asked.request, leg.view, asked.explanation.decision
    spending = view.registry.spending
    if decision is None or not admission.is_needed(spending):
        return leg.tell(asked)

    def decide(constraints: Constraints) -> Decision:
        return leg.foresee(request, constraints)

    fingerprint = compared_by(request, asked.body, spending.loop_guard)
    case = Case(request, decision, view.registry, view.health.token_ratios, decide, be_patient, fingerprint)
    try:
        return leg.tell(asked, await admission.rehearse(case))
    except RequestError as error:
        return leg.refuse(error)


async def _conclude_slowly(  # noqa: PLR0917 - what a request needs that has to be admitted
    leg: RouteLeg,
    begun: Begun,
    used_up: DeploymentHealth | None,
    admission: Admission,
    be_patient: Callable[[], Awaitable[None]],
    life: str,
) -> list[bytes]:
    request, view = begun.request, leg.view

    def decide(constraints: Constraints) -> Decision:
        return leg.decide(request, constraints)

    spending = view.registry.spending
    fingerprint = compared_by(request, begun.body, spending.loop_guard)
    case = Case(request, begun.decision, view.registry, view.health.token_ratios, decide, be_patient, fingerprint, life)
    if used_up is not None:
        try:
            await admission.wait(case, begun.decision.chain[0].deployment, used_up.quota_until)
        except NoRoomError:
            if spending.waiting.learned != "try":
                seconds = used_up.quota_until - time.time()
                raise quota_refusal(begun.decision.route, seconds, used_up.quota_unit, seconds) from None
        begun = replace(begun, decision=leg.decide(request))
        case = replace(case, decision=begun.decision)
    if not admission.is_needed(spending):
        return leg.finish(begun)
    admitted = await admission.admit(case)
    if admitted.system_line is not None:
        extra = {"decision": case.reservation, "tenant": request.caller.tenant, "reason": admitted.decision.reason}
        _log.warning("a session goes round in circles: it is asked for a summary, without tools", extra=extra)
    goes_on = False
    try:
        answers = leg.finish(begun, admitted)
        goes_on = leg.outcome.decided
    finally:
        if not goes_on:
            admission.abandon(admitted)
    return answers


def _first_to_reset(decision: Decision, view: View, now: float) -> DeploymentHealth | None:
    """The place of the chain that has quota again first, if none has any by its provider's own word; None where one has, and
    where nobody may wait as long.
    """
    first: DeploymentHealth | None = None
    for attempt in decision.chain:
        found = view.health.deployments.get(attempt.deployment)
        if found is None or found.quota_until <= now:
            return None
        if first is None or found.quota_until < first.quota_until:
            first = found
    longest = view.registry.spending.waiting.max_wait_ms / 1_000
    return None if first is None or first.quota_until > now + longest else first
