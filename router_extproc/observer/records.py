"""What the observer knows about a request, as frozen values.

Rules of this file
- ``DecisionRecord`` is published as ``data/decision.schema.json``: keys may be added, never renamed or removed, without
  a new ``version``.
- No body, no header and no query string ever becomes part of a record.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

SCHEMA_VERSION = 1


class Usage(msgspec.Struct, frozen=True):
    """Tokens as the provider counted them; ``cached_tokens`` are those of the prompt that it had in its cache."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


class SignalRecord(msgspec.Struct, frozen=True):
    """One thing that was found out about the request: its ``value``, a word, number, list or map, and the time it took."""

    value: Any
    ms: float


class AttemptRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt on one deployment.

    ``number`` counts from 1, None when Envoy did not say. ``level`` is why the deployment stood in the chain (``primary``,
    ``same_model``, ``target``, ``same_tier``, ``last_resort``), None when no worker decided. ``status`` is 0 when no answer
    came; an answer that was turned down has the status that made Envoy go on. ``cause`` is a word of ``observer.causes``.
    Times are milliseconds since ``started_at``. ``retry_after_seconds`` and the ``remaining`` figures are what the
    provider's headers said; ``quota_reset_seconds`` is when what is used up will be there again, and ``quota_unit`` what that
    is, ``requests`` or ``tokens``; None when nothing is.
    """

    deployment: str
    number: int | None = None
    level: str | None = None
    status: int = 0
    cause: str = "none"
    flags: tuple[str, ...] = ()
    started_at: datetime
    time_to_first_byte_ms: float | None = None
    total_ms: float | None = None
    retry_after_seconds: float | None = None
    remaining_requests: int | None = None
    remaining_tokens: int | None = None
    quota_reset_seconds: float | None = None
    quota_unit: str | None = None

    @property
    def ended_at(self) -> float:
        """In epoch seconds; when it began, where nobody said how long it took."""
        return self.started_at.timestamp() + (self.total_ms or 0.0) / 1_000


class RequestRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One request as Envoy's own log entry tells it.

    ``deployment`` is the last that was called, None when nobody was; ``model`` and ``tier`` are what it serves.
    ``attempt_count`` is how many attempts Envoy made. ``levels`` says of each deployment of the chain why it stood there.
    ``text_tokens`` are those that were estimated for a prompt of text alone.
    """

    id: str
    started_at: datetime
    method: str = ""
    path: str = ""
    status: int = 0
    cause: str = "none"
    flags: tuple[str, ...] = ()
    details: str | None = None
    requested: str | None = None
    route: str | None = None
    reason: str | None = None
    model: str | None = None
    tier: str | None = None
    deployment: str | None = None
    stream: bool = False
    degraded: str | None = None
    refused: str | None = None
    refused_by: str | None = None
    fallback_from: str | None = None
    attempt_count: int = 0
    usage: Usage | None = None
    estimated_cost_usd: float | None = None
    time_to_first_token_ms: float | None = None
    total_ms: float | None = None
    levels: Mapping[str, str] = {}
    text_tokens: int | None = None
    signals: Mapping[str, SignalRecord] = {}


class DecisionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One request, what was decided for it, and what came of it.

    ``id`` is the decision's id (``x-router-decision``), empty for what never was an HTTP request. ``requested`` is what the
    client wrote in ``model``, ``route`` what that stands for, ``reason`` why the request went where it did. ``model``,
    ``tier`` and ``deployment`` name who was called last, None when nobody was. ``cause`` is why the request failed, ``none``
    when it did not. ``degraded`` says in what the answer is less than what was promised, ``refused`` is the code of an error
    that the router itself answered with, ``refused_by`` the budget behind it, ``details`` are Envoy's words. ``signals`` are
    what analysis was asked, with what it found. ``time_to_first_token_ms`` runs to the first byte of the answer.
    ``final_cost_usd`` is the usage at the model's prices, None when either is unknown. ``attempt_count`` may be above the
    length of ``attempts`` when an attempt's log entry was lost.
    """

    version: int = SCHEMA_VERSION
    id: str
    started_at: datetime
    method: str = ""
    path: str = ""
    status: int = 0
    cause: str = "none"
    flags: tuple[str, ...] = ()
    details: str | None = None
    requested: str | None = None
    route: str | None = None
    reason: str | None = None
    model: str | None = None
    tier: str | None = None
    deployment: str | None = None
    stream: bool = False
    degraded: str | None = None
    refused: str | None = None
    refused_by: str | None = None
    fallback_from: str | None = None
    attempt_count: int = 0
    attempts: tuple[AttemptRecord, ...] = ()
    signals: Mapping[str, SignalRecord] = {}
    usage: Usage | None = None
    estimated_cost_usd: float | None = None
    final_cost_usd: float | None = None
    time_to_first_token_ms: float | None = None
    total_ms: float | None = None
