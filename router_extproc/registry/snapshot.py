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
    ascending order: the last one whose threshold the prompt exceeds replaces the figures.
    """

    input: float
    output: float
    cached_input: float | None = None
    source: str = "router.yaml"
    tiers: tuple[PriceTier, ...] = ()

    def cost(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> float:
        """USD for one request; ``cached_tokens`` are those of the prompt that the provider had in its cache."""
        rates: Prices | PriceTier = self
        for tier in self.tiers:
            if prompt_tokens > tier.above_tokens:
                rates = tier
        cached_rate = rates.input if rates.cached_input is None else rates.cached_input
        fresh = prompt_tokens - cached_tokens
        return (fresh * rates.input + cached_tokens * cached_rate + completion_tokens * rates.output) / _MILLION


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
    """Where requests go. Without targets every model is a candidate. ``strategy``: ordered, cheap, fast or best.

    ``min_tier`` and ``min_quality`` (0 to 1) are floors: what is below one of them serves nothing here, not even last.
    """

    strategy: str = "ordered"
    targets: tuple[Target, ...] = ()
    min_tier: Tier | None = None
    same_tier: bool = True
    last_resort: tuple[Target, ...] = ()
    after: dict[str, tuple[Target, ...]] = {}
    min_quality: float | None = None

    def is_strong_enough(self, model: Model) -> bool:
        """Whether the model keeps the plan's floors."""
        return (self.min_tier is None or model.tier >= self.min_tier) and (
            self.min_quality is None or model.quality >= self.min_quality
        )


class Route(msgspec.Struct, frozen=True):
    """A name that clients may write in ``model``, with its limits in milliseconds.

    ``named_model`` is set when the name is a model's own: it is then never replaced by another model unless
    ``allow_cross_model``.
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


class Condition(msgspec.Struct, frozen=True):
    """What a rule asks of a request; None asks nothing. Strings ending in ``*`` match by prefix."""

    routes: tuple[str, ...] = ("auto",)
    headers: tuple[tuple[str, str], ...] = ()
    path: str | None = None
    prompt_tokens_at_least: int | None = None
    prompt_tokens_at_most: int | None = None
    code: bool | None = None
    tools: bool | None = None
    images: bool | None = None
    stream: bool | None = None


class Rule(msgspec.Struct, frozen=True):
    """The first rule whose condition holds replaces the route's plan."""

    name: str
    when: Condition
    plan: Plan


class Registry(msgspec.Struct, frozen=True):
    """One frozen snapshot. ``revision`` is a hash of the content: equal configuration, equal revision.

    ``routes`` has every name a client may write but aliases and what only a wildcard matches; names ending in ``*``
    match by prefix, the longest first.
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
