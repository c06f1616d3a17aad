"""What the router decided: candidate, attempt, decision. Frozen values that travel as the ticket.

An attempt names exactly one deployment: weights over deployments and keys are drawn when the decision is made, so
that the body can already carry the provider's own model id and the price estimate is that of the attempt.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from router_extproc.facts import Signal

# Causes of a failed attempt that have an answer, and may therefore have a chain of their own.
RATE_LIMITED = "rate_limited"
SERVER_ERROR = "server_error"
CONTEXT_LENGTH = "context_length"
CAUSES = (RATE_LIMITED, SERVER_ERROR, CONTEXT_LENGTH)


class Attempt(msgspec.Struct, frozen=True):
    """One place to try: a deployment and the model id its provider knows.

    ``level`` tells why it stands in the chain: ``primary``, ``same_model``, ``target``, ``same_tier``, ``last_resort``.
    """

    deployment: str
    model: str
    provider_model: str
    tier: str
    level: str = "primary"


class Constraints(msgspec.Struct, frozen=True):
    """What budgets and permissions leave of the candidates; None and nothing take nothing away.

    ``tier_ceiling`` is the label of the strongest tier that may be used, unless a floor of the request lies above it: a
    budget makes no answer unsafe. ``closed`` says, by deployment, why it has no room; ``opens_at`` is when the first of them
    may have some again, in epoch seconds. ``models``, ``tiers`` and ``regions`` are those that the caller may use, names that
    end in ``*`` by prefix. ``max_output_tokens`` is the most that each answer may have. ``reasons`` are what
    ``x-router-reason`` says of all this: ``budget-downgrade:NAME``.
    """

    tier_ceiling: str | None = None
    closed: Mapping[str, str] = {}
    opens_at: float | None = None
    models: tuple[str, ...] | None = None
    tiers: tuple[str, ...] | None = None
    regions: tuple[str, ...] | None = None
    max_output_tokens: int | None = None
    reasons: tuple[str, ...] = ()


NO_CONSTRAINTS = Constraints()


class Candidate(msgspec.Struct, frozen=True):
    """One deployment that was looked at. ``rejected`` is why it fell, or None when it stayed.

    ``quota_resets_in_seconds`` is None unless its quota is used up: then it is tried after all that have room.
    ``token_ratio`` is by what the prompt's estimated tokens were multiplied for its model; None: by nothing.
    """

    deployment: str
    model: str
    tier: str
    rejected: str | None = None
    estimated_cost_usd: float | None = None
    time_to_first_byte_ms: float | None = None
    quota_resets_in_seconds: float | None = None
    token_ratio: float | None = None


class Decision(msgspec.Struct, frozen=True):
    """The outcome for one request.

    ``requested`` is what the client wrote in ``model``: the name of ``route``, an alias of it or what a wildcard matched.
    ``chain`` is tried in order; ``cause_chains`` are tried instead once an attempt failed for that cause.
    ``reason`` is one machine-readable word or ``rule:NAME``. Times are in milliseconds, costs in USD.
    ``half_open`` names the cooling deployment that this request probes, if any. ``degraded`` marks an answer that is
    less than what was promised (``all-cooling-down``). ``signals`` are the facts of the content that were worked out, in the
    order they were finished. ``text_tokens`` are those estimated for a prompt of text alone, as every model is thought to count
    them: what the provider reports is compared with them. None: not to be compared. ``tier_floor`` is the label of the weakest
    tier that may serve, whatever a budget says; None: any.
    """

    route: str
    reason: str
    chain: tuple[Attempt, ...]
    requested: str = ""
    cause_chains: dict[str, tuple[Attempt, ...]] = {}
    rule: str | None = None
    deadline_ms: int = 600_000
    attempt_timeout_ms: int | None = None
    first_token_timeout_ms: int | None = None
    stream_idle_ms: int = 300_000
    retry_within_ms: int = 60_000
    max_attempts: int = 4
    check_answer: bool = False
    stream: bool = False
    estimated_cost_usd: float | None = None
    half_open: str | None = None
    degraded: str | None = None
    candidates: tuple[Candidate, ...] = ()
    signals: tuple[Signal, ...] = ()
    text_tokens: int | None = None
    tier_floor: str | None = None

    @property
    def must_judge(self) -> bool:
        """True when answers must be looked at before the client sees them."""
        return self.check_answer or (self.stream and self.first_token_timeout_ms is not None)

    @property
    def must_rename(self) -> bool:
        """True when a later attempt's provider knows the model by another id than the first one's."""
        first = self.chain[0].provider_model
        others = (attempt for chain in (self.chain, *self.cause_chains.values()) for attempt in chain)
        return any(attempt.provider_model != first for attempt in others)
