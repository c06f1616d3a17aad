"""The registry: everything a decider must know, compiled from ``router.yaml`` and frozen.

Rules of this file
- The control side writes a snapshot, the data side reads it: one JSON document, the same bytes for every worker.
- Nothing is left to look up: prices, limits and capabilities are filled in, aliases resolved, targets expanded to
  names that exist, the timeouts of each route complete.
- It imports neither the configuration's schema nor any edge, so that a worker stays small.
"""

from __future__ import annotations

import enum
from pathlib import Path

import msgspec

from router_extproc.registry.spending import NO_SPENDING, OnRouterFailure, Spending

# Domains in which a wrong answer does harm.
RISKS = ("medical", "legal", "financial", "confidential", "self_harm")

_MILLION = 1_000_000


class Tier(enum.IntEnum):
    """Models of like capability, weakest first."""

    ECONOMY = 1
    STANDARD = 2
    PREMIUM = 3

    @property
    def label(self) -> str:
        """The spelling in YAML, headers and logs."""
        return self.name.lower()


class PriceTier(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a request costs whose prompt has more than ``above_tokens`` tokens.

    USD per million tokens, for every token of the request and not only for those above the threshold.
    """

    above_tokens: int
    input: float
    output: float = 0.0
    cached_input: float | None = None


class Prices(msgspec.Struct, frozen=True):
    """USD per million tokens; ``source`` says where the figures come from, with its date.

    ``cached_input`` of None means that a prompt read from the provider's cache costs as any other. ``tiers`` are in
    ascending order: the last one whose threshold the prompt exceeds replaces the figures. ``request`` is USD for each request
    beside its tokens, ``tool_call`` for each use of a tool that the provider runs itself. The rest is charged instead of
    tokens: USD for each picture, for a million characters that are spoken, for each minute of sound that is heard, for each
    second of a video; None: not known. ``by_piece_only``: tokens have none.
    """

    input: float
    output: float
    cached_input: float | None = None
    source: str = "router.yaml"
    tiers: tuple[PriceTier, ...] = ()
    request: float | None = None
    tool_call: float | None = None
    image: float | None = None
    characters: float | None = None
    audio_minute: float | None = None
    video_second: float | None = None
    by_piece_only: bool = False

    def cost(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> float:
        """USD for one request; ``cached_tokens`` are those of the prompt that the provider had in its cache."""
        rates: Prices | PriceTier = self
        for tier in self.tiers:
            if prompt_tokens > tier.above_tokens:
                rates = tier
        cached_rate = rates.input if rates.cached_input is None else rates.cached_input
        fresh = prompt_tokens - cached_tokens
        tokens = fresh * rates.input + cached_tokens * cached_rate + completion_tokens * rates.output
        return (self.request or 0.0) + tokens / _MILLION


class Deployment(msgspec.Struct, frozen=True):
    """One way to reach a model with one key; backed by the Envoy cluster of the same name.

    ``provider_model`` may hold a ``*`` that stands for what a wildcard model matched. ``weight`` is relative to the
    model's other deployments. ``paths`` are the paths served, ``*`` at the end matching the rest.
    """

    name: str
    model: str
    provider: str
    provider_model: str
    weight: float = 1.0
    region: str | None = None
    paths: tuple[str, ...] = ()


class Model(msgspec.Struct, frozen=True):
    """A logical model, complete. ``capabilities`` of None means unknown: then nothing is held against it.

    ``context_window`` and ``output_limit`` are in tokens, None when unknown. A name that ends in ``*`` serves any
    model name with that prefix.
    """

    name: str
    tier: Tier
    quality: float
    deployments: tuple[Deployment, ...]
    context_window: int | None = None
    output_limit: int | None = None
    capabilities: frozenset[str] | None = None
    strengths: tuple[str, ...] = ()
    prices: Prices | None = None


class Target(msgspec.Struct, frozen=True):
    """``kind`` is ``model``, ``tier`` or ``deployment``; ``weight`` None keeps the written order."""

    kind: str
    name: str
    weight: float | None = None


class Plan(msgspec.Struct, frozen=True):
    """Where requests go. Without targets every model is a candidate. ``strategy``: ordered, cheap, fast, best or auto.

    ``min_tier`` and ``min_quality`` (0 to 1) are floors: what is below one of them serves nothing here, not even last.
    ``quality`` is what ``auto`` asks of a tier: the least probability, 0 to 1, that its models are good enough for the
    request. None in a rule's plan: the route's.
    """

    strategy: str = "ordered"
    targets: tuple[Target, ...] = ()
    min_tier: Tier | None = None
    same_tier: bool = True
    last_resort: tuple[Target, ...] = ()
    after: dict[str, tuple[Target, ...]] = {}
    min_quality: float | None = None
    quality: float | None = None

    def is_strong_enough(self, model: Model) -> bool:
        """Whether the model keeps the plan's floors."""
        return (self.min_tier is None or model.tier >= self.min_tier) and (
            self.min_quality is None or model.quality >= self.min_quality
        )


class Route(msgspec.Struct, frozen=True):
    """A name that clients may write in ``model``, with its limits in milliseconds.

    ``named_model`` is set when the name is a model's own: it is then never replaced by another model unless
    ``allow_cross_model``. A ``safety_critical`` route is never downgraded by a budget. ``on_router_failure`` says what
    becomes of a request that no worker decided; None: what ``Spending.refuses_undecided`` says.
    """

    name: str
    plan: Plan = Plan()
    named_model: str | None = None
    allow_cross_model: bool = False
    passthrough: bool = False
    deadline_ms: int = 600_000
    attempt_timeout_ms: int | None = None
    first_token_timeout_ms: int | None = None
    stream_idle_ms: int = 300_000
    max_attempts: int = 4
    retry_within_ms: int = 60_000
    check_answer: bool = False
    safety_critical: bool = False
    on_router_failure: OnRouterFailure | None = None


class Bounds(msgspec.Struct, frozen=True):
    """Inclusive bounds of a figure; None bounds nothing."""

    at_least: float | None = None
    at_most: float | None = None


class Condition(msgspec.Struct, frozen=True):
    """What a rule asks of a request; None and nothing ask nothing. Strings ending in ``*`` match by prefix.

    Of ``tasks``, ``risks``, ``languages`` and ``semantic_routes`` one must be the request's. ``keywords`` are phrases: one
    of ``any_keyword``, all of ``all_keywords`` and none of ``no_keyword`` must stand in the text.
    """

    routes: tuple[str, ...] = ("auto",)
    headers: tuple[tuple[str, str], ...] = ()
    path: str | None = None
    stream: bool | None = None
    tools: bool | None = None
    images: bool | None = None
    prompt_tokens: Bounds | None = None
    code: bool | None = None
    turn: Bounds | None = None
    any_keyword: tuple[str, ...] = ()
    all_keywords: tuple[str, ...] = ()
    no_keyword: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    semantic_routes: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    risks: tuple[str, ...] = ()
    complexity: Bounds | None = None
    needs_strong: Bounds | None = None
    injection: Bounds | None = None

    @property
    def keywords(self) -> tuple[str, ...]:
        """All phrases that are looked for."""
        return (*self.any_keyword, *self.all_keywords, *self.no_keyword)


class Rule(msgspec.Struct, frozen=True):
    """The first rule whose condition holds replaces the route's plan."""

    name: str
    when: Condition
    plan: Plan


class SemanticRoute(msgspec.Struct, frozen=True):
    """Texts of one kind, by examples or in plain language. ``threshold`` is a similarity, 0 to 1; None: fitted."""

    utterances: tuple[str, ...] = ()
    description: str | None = None
    threshold: float | None = None


class AnalysisSettings(msgspec.Struct, frozen=True):
    """How requests are analysed.

    ``deadline_ms`` is the time for one request. ``encoder`` is what compares texts with semantic routes. ``risk_floor`` is
    the tier that ``auto`` does not go below for a risky domain, ``reasoning_tier`` the weakest that it tries first on what is
    to be thought through. ``tasks`` are further kinds of work, by examples.
    """

    deadline_ms: int = 20
    encoder: str = "static"
    risk_floor: dict[str, Tier] = msgspec.field(default_factory=lambda: dict.fromkeys(RISKS, Tier.PREMIUM))
    reasoning_tier: Tier = Tier.STANDARD
    tasks: dict[str, tuple[str, ...]] = {}
    semantic_routes: dict[str, SemanticRoute] = {}


class Registry(msgspec.Struct, frozen=True):
    """One frozen snapshot. ``revision`` is a hash of the content: equal configuration, equal revision.

    ``routes`` has every name a client may write but aliases and what only a wildcard matches; names ending in ``*``
    match by prefix, the longest first. ``never_asked_for_usage`` are deployments whose provider would refuse a stream that
    asks for its usage.
    """

    revision: str = ""
    models: dict[str, Model] = {}
    routes: dict[str, Route] = {}
    aliases: dict[str, str] = {}
    rules: tuple[Rule, ...] = ()
    default_chain: tuple[str, ...] = ()
    catalogue: str = ""
    max_body_bytes: int = 32 << 20
    max_body_bytes_in_flight: int = 128 << 20
    never_asked_for_usage: frozenset[str] = frozenset()
    analysis: AnalysisSettings = msgspec.field(default_factory=AnalysisSettings)
    spending: Spending = NO_SPENDING

    def deployments(self) -> tuple[Deployment, ...]:
        """All deployments of all models, in file order."""
        return tuple(deployment for model in self.models.values() for deployment in model.deployments)


def encode_registry(registry: Registry) -> bytes:
    """The snapshot as the JSON document that workers read."""
    return msgspec.json.encode(registry)


def read_registry(path: Path) -> Registry:
    """Reads a snapshot that ``encode_registry`` wrote.

    Raises:
        OSError: the file cannot be read.
        msgspec.DecodeError: it is not a snapshot of this version.
    """
    return msgspec.json.decode(path.read_bytes(), type=Registry)
