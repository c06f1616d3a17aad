"""One decision record from a joined request, its attempts and the registry. Pure."""

from __future__ import annotations

from msgspec.structs import replace

from router_extproc.observer.join import Joined
from router_extproc.observer.known_names import KnownNames, cost_of
from router_extproc.observer.records import DecisionRecord

# Requests that no worker decided are served by Envoy's static default chain.
ROUTER_UNAVAILABLE = "router-unavailable"


def compose(joined: Joined, names: KnownNames) -> DecisionRecord:
    """The record as it is published."""
    request = joined.request
    attempts = tuple(replace(attempt, level=request.levels.get(attempt.deployment)) for attempt in joined.attempts)
    served = names.served(request.deployment)
    undecided = request.reason is None and request.attempt_count > 0
    others = [attempt.deployment for attempt in attempts if attempt.deployment != request.deployment]
    return DecisionRecord(
        id=request.id,
        started_at=request.started_at,
        method=request.method,
        path=request.path,
        status=request.status,
        cause=request.cause,
        flags=request.flags,
        details=request.details,
        requested=request.requested,
        route=request.route,
        reason=request.reason,
        model=request.model or (served.model if served is not None else None),
        tier=request.tier or (served.tier if served is not None else None),
        deployment=request.deployment,
        stream=request.stream,
        degraded=request.degraded or (ROUTER_UNAVAILABLE if undecided else None),
        refused=request.refused,
        refused_by=request.refused_by,
        fallback_from=request.fallback_from or (others[0] if others and request.deployment else None),
        attempt_count=request.attempt_count,
        attempts=attempts,
        signals=request.signals,
        usage=request.usage,
        estimated_cost_usd=request.estimated_cost_usd,
        final_cost_usd=cost_of(request.usage, served.prices if served is not None else None),
        time_to_first_token_ms=request.time_to_first_token_ms,
        total_ms=request.total_ms,
    )
