"""What can go wrong, or slow, at a simulated provider, and how a script of faults is read.

Rules: values and pure functions only; time passes and bytes move in ``exchange``. Every field has one meaning that the
README of this folder repeats; keep the two in step.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
NonNegative = Annotated[float, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class LogNormal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Delays as real providers have them: half lie below ``median`` (milliseconds), a larger ``sigma`` means a longer tail."""

    median: NonNegative
    sigma: NonNegative = 0.5


# Not ``tuple[float, float]``: beside a constrained number msgspec 0.22 leaves part of such a type unset, and the garbage
# collector crashes on it.
Bounds = Annotated[tuple[NonNegative, ...], msgspec.Meta(min_length=2, max_length=2)]

Milliseconds = NonNegative | Bounds | LogNormal
"""Fixed, drawn evenly between two bounds, or drawn from a log-normal distribution."""

Malformation = Literal["broken", "truncated"]

Seconds = NonNegative | Literal["forever"]


class Faults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One set of faults; the default is a healthy provider that answers at once."""

    # Pace
    latency_ms: Milliseconds = 0.0
    """Before the response headers."""
    first_token_ms: Milliseconds = 0.0
    """From the headers to the first token of a stream; a plain answer waits as long before its headers."""
    inter_token_ms: Milliseconds = 0.0
    """Between two tokens; a plain answer waits for all of its tokens before its headers."""
    hang: Seconds | None = None
    """Silence before the headers, after which the request goes on as if nothing had been."""

    # Shape of a good answer
    tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Length of the answer; ``max_tokens`` still cuts it."""
    answer_bytes: Count | None = None
    """A plain chat answer is padded to exactly this many bytes (before compression)."""
    logprob: Annotated[float, msgspec.Meta(le=0)] | None = None
    """The natural logarithm of every token's probability, where the client asked for ``logprobs``."""
    gzip: Literal["asked", "always", "never"] = "asked"
    """``always`` compresses whatever ``accept-encoding`` says."""
    response_headers: dict[str, str] = {}
    """Set on every answer, replacing what the simulator would send under that name."""

    # Errors
    status: Annotated[int, msgspec.Meta(ge=300, le=599)] | None = None
    """This status with the error body that goes with it."""
    error_rate: Share | None = None
    """Only this share of the requests fails, with ``status`` (500 where that is unset)."""
    error_code: str | None = None
    """Replaces ``code`` in the error body, such as ``insufficient_quota`` with status 429."""
    retry_after: NonNegative | None = None
    """Seconds, sent as ``retry-after`` with an error."""
    context_length_exceeded: bool = False
    """The 400 of a prompt that is too long, whatever the prompt."""
    unknown_members: tuple[str, ...] = ()
    """A JSON body with one of these gets the 400 of a server that knows only an older API: ``["stream_options"]``."""
    refuse: bool = False
    """Nobody is there: the port is closed; with ``times``, ``only_key`` or by header the connection is reset unanswered."""

    # Answers that go wrong
    stall_after_tokens: Count | None = None
    """Silence after this many tokens; 0 stalls between the headers and the first token."""
    stall: Seconds = "forever"
    """How long that silence lasts."""
    cut_after_tokens: Count | None = None
    """The connection breaks after this many tokens; 0 breaks it after the headers."""
    cut: Literal["reset", "close"] = "reset"
    """``reset`` sends a TCP reset, ``close`` an orderly end of the connection amid the answer."""
    end_early: Literal["before_done", "before_finish"] | None = None
    """The stream ends cleanly without ``[DONE]``; ``before_finish`` leaves out ``finish_reason`` and usage as well."""
    malformed: Malformation | None = None
    """200 with bytes that are no JSON, or with JSON that stops half-way."""
    empty: bool = False
    """200 without a body."""

    # Whom and how often
    only_key: str | None = None
    """Only requests with this bearer token; to all others the provider is healthy, and they take no turn."""
    times: Count | None = None
    """For so many requests only; then the next entry of the script, or a healthy provider."""


HEALTHY = Faults()

FaultScript = Faults | tuple[Faults, ...]
"""One set of faults, or several in order, each but the last with ``times``."""


def script_steps(script: FaultScript) -> tuple[Faults, ...]:
    """Return the script as the sequence it stands for."""
    return (script,) if isinstance(script, Faults) else script


def closes_port(script: FaultScript) -> bool:
    """Tell whether the script, as it starts, leaves nobody listening: ``refuse`` without ``times`` or ``only_key``."""
    steps = script_steps(script)
    return bool(steps) and steps[0].refuse and steps[0].times is None and steps[0].only_key is None


class FaultCursor:
    """Where a deployment stands in its script; each request takes one turn."""

    def __init__(self, script: FaultScript) -> None:
        self.script = script
        self._steps = script_steps(script)
        self._step = 0
        self._used = 0

    def take(self, key: str = "") -> Faults:
        """Return the faults of the next request, which came with this bearer token."""
        while self._step < len(self._steps):
            faults = self._steps[self._step]
            if faults.only_key not in {None, key}:
                return HEALTHY
            if faults.times is None:
                return faults
            if self._used < faults.times:
                self._used += 1
                return faults
            self._step += 1
            self._used = 0
        return HEALTHY


class SimulateHeaderError(ValueError):
    """``x-simulate`` cannot be read; the message says where."""


HeaderScript = Mapping[str, dict[str, Any]]


@lru_cache(maxsize=256)
def parse_simulate_header(value: bytes) -> HeaderScript:
    """Read ``x-simulate``: a JSON object of deployment name (or ``*``) to faults.

    Raises:
        SimulateHeaderError: it is no such object, or holds ``times`` or ``only_key``, which have no meaning within one request.
    """
    try:
        typed = msgspec.json.decode(value, type=dict[str, Faults])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SimulateHeaderError(f"x-simulate: {error}") from error
    if any(faults.times is not None for faults in typed.values()):
        raise SimulateHeaderError("x-simulate: `times` belongs into the configuration, one request has no first N")
    if any(faults.only_key is not None for faults in typed.values()):
        raise SimulateHeaderError("x-simulate: `only_key` belongs into the configuration, one request has one key")
    untyped: dict[str, dict[str, Any]] = msgspec.json.decode(value)
    return untyped


def overlay(base: Faults, script: HeaderScript, deployment: str) -> Faults:
    """Lay the header's entry for ``deployment`` (else the one for ``*``) over what the deployment does by itself.

    Only the fields that the header writes change. ``times`` does not carry over: the turn was already taken.
    """
    written = script.get(deployment, script.get("*"))
    if written is None:
        return base
    fields: dict[str, Any] = msgspec.to_builtins(base)
    fields.pop("times", None)
    return msgspec.convert({**fields, **written}, Faults)


def draw_seconds(delay: Milliseconds, generator: random.Random) -> float:
    """Return one delay, in seconds."""
    if isinstance(delay, LogNormal):
        return delay.median * generator.lognormvariate(0.0, delay.sigma) / 1000
    if isinstance(delay, tuple):
        lowest, highest = delay
        return generator.uniform(lowest, highest) / 1000
    return delay / 1000


def failing_status(faults: Faults, generator: random.Random) -> int | None:
    """Return the status this request fails with, or ``None`` where it is served."""
    if faults.error_rate is not None:
        return (faults.status or 500) if generator.random() < faults.error_rate else None
    return faults.status
