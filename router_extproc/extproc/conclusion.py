"""How a route leg ends: at once where nothing is counted, else after its request was admitted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from router_extproc.decision import Constraints, Decision
from router_extproc.errors import RequestError
from router_extproc.extproc.admission import Admission, Case, RefusedError
from router_extproc.extproc.route_leg import Begun, RouteLeg


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

    case = Case(request, begun.decision, leg.view.registry, leg.view.health.token_ratios, decide, be_patient)
    try:
        admitted = await admission.admit(case)
    except RefusedError as refused:
        return leg.refuse(refused.step.error, refused.step.figures)
    except RequestError as error:
        return leg.refuse(error)
    goes_on = False
    try:
        answers = leg.finish(begun, admitted)
        goes_on = leg.outcome.decided
    finally:
        if not goes_on:
            admission.abandon(admitted)
    return answers
