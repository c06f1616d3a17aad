"""The ticket: a decision in the form in which it travels through Envoy.

Rules of this file
- Its keys are read by ``envoyconf/lua/router.lua``, by the attempt leg and by the observer: change them together.
- Whatever differs from request to request of the same chain goes into the second namespace, so that the ticket itself
  is encoded once for each chain.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec

from router_extproc.account import encode_account
from router_extproc.caller import NOBODY, Caller
from router_extproc.decision import Attempt, Decision
from router_extproc.extproc.case import Admitted
from router_extproc.extproc.framing import frame_texts
from router_extproc.extproc.limit_headers import ratelimit_headers, usd
from router_extproc.extproc.messages import (
    CALLER_NAMESPACE,
    REQUEST_NAMESPACE,
    TICKET_NAMESPACE,
    encode_metadata,
    encode_request_headers,
)

_KEPT = 1_024

STORE_UNAVAILABLE = "store-unavailable"
"""What ``x-router-degraded`` says of a request that was admitted without the store."""

NOTHING_MORE: Mapping[str, str] = MappingProxyType({})
NOTHING_WISHED: Mapping[str, bool] = MappingProxyType({})


def groups(chain: tuple[Attempt, ...]) -> list[dict[str, object]]:
    """The chain as Envoy's priority groups: attempt N takes group N."""
    return [{"name": attempt.deployment, "clusters": [{"cluster_name": attempt.deployment, "weight": 1}]} for attempt in chain]


def provider_models(decision: Decision) -> dict[str, str]:
    """What each deployment's provider calls the model, for attempts after the first."""
    chains = (decision.chain, *decision.cause_chains.values())
    return {attempt.deployment: attempt.provider_model for chain in chains for attempt in chain}


def levels(decision: Decision) -> dict[str, str]:
    """Why each deployment stands where it does, for the decision log; the chain's own word before those of causes."""
    chains = (*decision.cause_chains.values(), decision.chain)
    return {attempt.deployment: attempt.level for chain in chains for attempt in chain}


def ticket_of(decision: Decision, usage_wishes: Mapping[str, bool] = NOTHING_WISHED) -> dict[str, object]:
    """The ticket's content; absent keys mean no, none or zero.

    ``usage_wishes``: which deployments are asked for a stream's usage, where it is some of them.
    """
    ticket: dict[str, object] = {
        "route": decision.route,
        "reason": decision.reason,
        "requested": decision.requested,
        "first": decision.chain[0].model,
        "sent_model": decision.chain[0].provider_model,
        "priority_groups": groups(decision.chain),
        "levels": levels(decision),
        "deadline_ms": decision.deadline_ms,
        "attempt_timeout_ms": decision.attempt_timeout_ms or 0,
        "retry_within_ms": decision.retry_within_ms,
        "max_attempts": decision.max_attempts,
        "stream": decision.stream,
    }
    optional = {
        "first_token_ms": decision.first_token_timeout_ms,
        "check": "1" if decision.check_answer else None,
        "degraded": decision.degraded,
        "judge": "1" if decision.must_judge else None,
        "rename": "1" if decision.must_rename or usage_wishes else None,
        "models": provider_models(decision) if decision.must_rename else None,
        "usage_wishes": dict(usage_wishes) or None,
        "after": {cause: groups(chain) for cause, chain in decision.cause_chains.items()} or None,
    }
    return ticket | {key: value for key, value in optional.items() if value is not None}


def routing_headers(decision: Decision) -> dict[str, str]:
    """What tells Envoy's router how often and how long to try, for this request alone; times in milliseconds.

    A stream has no overall timeout: Envoy's would cut a running answer. Its deadline is kept attempt by attempt.
    """
    longest = max(len(decision.chain), decision.max_attempts if decision.cause_chains else 0)
    headers = {
        "x-envoy-max-retries": str(min(longest, decision.max_attempts) - 1),
        "x-envoy-upstream-rq-timeout-ms": "0" if decision.stream else str(decision.deadline_ms),
    }
    # An attempt that may take as long as a stream may be silent is bounded by that already, and Envoy would stop looking for
    # silence once an attempt's own time is over.
    is_bounded = decision.stream and decision.attempt_timeout_ms == decision.stream_idle_ms
    if decision.attempt_timeout_ms and not is_bounded:
        headers["x-envoy-upstream-rq-per-try-timeout-ms"] = str(decision.attempt_timeout_ms)
    return headers


def of_this_request(decision: Decision) -> dict[str, str]:
    """What no other request shares: the estimates, and the signals as one JSON document (name → value, milliseconds)."""
    own = {}
    if decision.estimated_cost_usd is not None:
        own["cost"] = f"{decision.estimated_cost_usd:.8f}"
    if decision.text_tokens is not None:
        own["text_tokens"] = str(decision.text_tokens)
    if decision.signals:
        signals = {signal.name: (signal.value, signal.milliseconds) for signal in decision.signals}
        own["signals"] = msgspec.json.encode(signals).decode()
    return own


def of_this_admission(admitted: Admitted, *, usage_injected: bool) -> dict[str, str]:
    """What was set aside, what is left of budgets and limits, and what the client did not ask for; texts all of them."""
    own = {"account": encode_account(admitted.account), **ratelimit_headers(admitted.figures)}
    if admitted.figures.remaining_micro_usd is not None:
        own["budget_remaining"] = usd(admitted.figures.remaining_micro_usd)
    if admitted.degraded:
        words = (admitted.decision.degraded, STORE_UNAVAILABLE)
        own["degraded"] = ",".join(word for word in words if word)
    if usage_injected:
        own["usage_injected"] = "1"
    return own


def _encode_caller(caller: Caller) -> bytes:
    texts = {name: getattr(caller, name) for name in ("tenant", "team", "user", "key", "tier")}
    return encode_metadata(CALLER_NAMESPACE, {**texts, "features": list(caller.features), "tags": dict(caller.tags)})


class TicketOffice:
    """Encodes decisions and callers; what was encoded for an equal one is kept, the most recent ``_KEPT`` of each."""

    def __init__(self) -> None:
        self._encoded: OrderedDict[tuple[object, ...], bytes] = OrderedDict()
        self._callers: OrderedDict[tuple[object, ...], bytes] = OrderedDict()

    def encode(
        self,
        decision: Decision,
        more: Mapping[str, str] = NOTHING_MORE,
        usage_wishes: Mapping[str, bool] = NOTHING_WISHED,
    ) -> bytes:
        """The answer to the request's headers that carries the ticket; a header mutation may be appended.

        ``more`` is told about this request beside what its decision says; ``usage_wishes`` as in ``ticket_of``.
        """
        key = (
            decision.route,
            decision.reason,
            decision.requested,
            decision.chain,
            tuple(decision.cause_chains.items()),
            decision.stream,
            decision.degraded,
            decision.deadline_ms,
            decision.attempt_timeout_ms,
            decision.stream_idle_ms,
            decision.first_token_timeout_ms,
            decision.check_answer,
            decision.max_attempts,
            decision.retry_within_ms,
            tuple(usage_wishes.items()),
        )
        encoded = _kept(self._encoded, key, lambda: _encode_decision(decision, usage_wishes))
        own = {**of_this_request(decision), **more}
        return encoded + frame_texts(REQUEST_NAMESPACE, own) if own else encoded

    def encode_caller(self, caller: Caller) -> bytes:
        """Who asks, for Envoy's other filters and its logs; nothing where nobody was asked."""
        if caller is NOBODY:
            return b""
        own = (caller.tenant, caller.team, caller.user, caller.key, caller.tier, caller.features)
        return _kept(self._callers, (*own, *caller.tags.items()), lambda: _encode_caller(caller))


def _encode_decision(decision: Decision, usage_wishes: Mapping[str, bool]) -> bytes:
    ticket = encode_metadata(TICKET_NAMESPACE, ticket_of(decision, usage_wishes))
    return ticket + encode_request_headers(routing_headers(decision), clear_route_cache=True)


def _kept(kept: OrderedDict[tuple[object, ...], bytes], key: tuple[object, ...], encode: Callable[[], bytes]) -> bytes:
    encoded = kept.get(key)
    if encoded is None:
        encoded = kept[key] = encode()
        if len(kept) > _KEPT:
            kept.popitem(last=False)
    return encoded
