"""How a route leg ends: at once where nothing is counted, else after its request was admitted."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from router_extproc.decision import Constraints, Decision
from router_extproc.dialects.openai_edits import COMPLETIONS, RESPONSES
from router_extproc.errors import RequestError
from router_extproc.extproc.admission import SESSION_HEADER, Admission, Case, RefusedError
from router_extproc.extproc.route_leg import Begun, RouteLeg
from router_extproc.limits.loop_guard import fingerprint as fingerprint_of
from router_extproc.registry.spending import LoopGuard
from router_extproc.request import CHAT_COMPLETIONS

_CONVERSATIONS = frozenset({CHAT_COMPLETIONS, COMPLETIONS, RESPONSES})

_log = logging.getLogger(__name__)


async def conclude(leg: RouteLeg, admission: Admission, be_patient: Callable[[], Awaitable[None]]) -> list[bytes]:
    """The messages that end the conversation, once everything was taken. ``be_patient`` tells Envoy that it may take longer."""
    if not admission.is_needed(leg.view.registry.spending):
        return leg.answer()
    begun = leg.begin()
    if not isinstance(begun, Begun):
        return begun
    request = begun.request

    def decide(constraints: Constraints) -> Decision:
        return leg.decide(request, constraints)

    view = leg.view
    fingerprint = _fingerprint(begun, view.registry.spending.loop_guard)
    case = Case(request, begun.decision, view.registry, view.health.token_ratios, decide, be_patient, fingerprint)
    try:
        admitted = await admission.admit(case)
    except RefusedError as refused:
        return leg.refuse(refused.step.error, refused.step.figures)
    except RequestError as error:
        return leg.refuse(error)
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


def _fingerprint(begun: Begun, guard: LoopGuard) -> str:
    """What the request is compared by with others of its session; nothing where nobody compares."""
    request = begun.request
    is_looked_at = guard.mode != "off" and request.path in _CONVERSATIONS and request.headers.get(SESSION_HEADER)
    return fingerprint_of(begun.body) if is_looked_at and request.model else ""
