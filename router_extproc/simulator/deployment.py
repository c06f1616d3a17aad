"""One simulated deployment: decides what to answer to a request, and remembers it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import msgspec

from router_extproc.simulator.answers import Answer, Usage, spoil
from router_extproc.simulator.configuration import SimulatedDeployment
from router_extproc.simulator.faults import (
    FaultCursor,
    Faults,
    FaultScript,
    SimulateHeaderError,
    closes_port,
    failing_status,
    overlay,
    parse_simulate_header,
)
from router_extproc.simulator.openai import Provider, Refusal, find_endpoint
from router_extproc.simulator.openai.error_bodies import invalid
from router_extproc.simulator.rate_limits import (
    UNLIMITED_REQUESTS,
    UNLIMITED_TOKENS,
    Bucket,
    RateLimitState,
    rate_limit_headers,
    retry_after_headers,
)
from router_extproc.simulator.received import ReceivedRequest
from router_extproc.simulator.recorder import Observation, Recorder

SIMULATE_HEADER = b"x-simulate"


class Performance(msgspec.Struct, frozen=True):
    """What the exchange has to play: an answer, and the faults that touch its timing and transport."""

    answer: Answer
    faults: Faults
    headers: dict[str, str]


class Deployment:
    """Answers requests without performing them; ``monotonic`` is the clock of its rate limits, in seconds."""

    def __init__(
        self,
        config: SimulatedDeployment,
        *,
        obey_header: bool = False,
        record_limit: int = 1000,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self.recorder = Recorder(config.name, record_limit)
        self.generator = random.Random(f"{config.name}/{config.seed}")  # noqa: S311 -- chance that repeats itself
        self._provider = Provider(config)
        self._cursor = FaultCursor(config.faults)
        self._obey_header = obey_header
        self._monotonic = monotonic
        now = monotonic()
        self._requests = Bucket(config.requests_per_minute, now) if config.requests_per_minute else None
        self._tokens = Bucket(config.tokens_per_minute, now) if config.tokens_per_minute else None

    @property
    def name(self) -> str:
        """The deployment's name."""
        return self.config.name

    @property
    def script(self) -> FaultScript:
        """The faults in force, from the start of their script."""
        return self._cursor.script

    @script.setter
    def script(self, script: FaultScript) -> None:
        self._cursor = FaultCursor(script)

    @property
    def is_closed(self) -> bool:
        """Whether nobody should be listening."""
        return closes_port(self.script)

    def observe(self, request: ReceivedRequest) -> Observation:
        """Note the arrival of a request."""
        return self.recorder.arrived(request, time.time())

    def respond(self, request: ReceivedRequest, observation: Observation) -> Performance:
        """Decide what to answer; nothing is sent and nothing waits here."""
        headers: dict[str, str] = {"x-request-id": self._provider.new_id("req_"), "openai-version": "2020-10-01"}
        faults = Faults()
        try:
            endpoint = find_endpoint(request.method, request.path, self.config.base_path)
            faults = observation.faults = self._faults(request)
            self._fail_on_purpose(faults)
            self._authenticate(request)
            if request.is_oversized:
                raise Refusal(413)  # noqa: TRY301 -- one way out for all refusals
            _refuse_unknown(request, faults.unknown_members)
            answer = endpoint(request, self._provider, faults)
            headers |= self._limit(answer.usage)
        except Refusal as refusal:
            answer = refusal.answer
        headers.update(answer.headers)
        headers.update((name.lower(), _one_line(value)) for name, value in faults.response_headers.items())
        return Performance(spoil(answer, faults), faults, headers)

    def _faults(self, request: ReceivedRequest) -> Faults:
        faults = self._cursor.take(request.bearer_token)
        script = request.headers.get(SIMULATE_HEADER) if self._obey_header else None
        if script is None:
            return faults
        try:
            return overlay(faults, parse_simulate_header(script), self.name)
        except SimulateHeaderError as error:
            raise Refusal(400, str(error), param="x-simulate", code="invalid_simulate_header") from error

    def _fail_on_purpose(self, faults: Faults) -> None:
        status = failing_status(faults, self.generator)
        if status is None:
            return
        headers = {} if faults.retry_after is None else retry_after_headers(faults.retry_after)
        if status == 429:  # noqa: PLR2004 -- Too Many Requests
            wait = faults.retry_after or 0.0
            used_up = RateLimitState(limit=UNLIMITED_REQUESTS, remaining=0, reset_seconds=wait)
            headers |= rate_limit_headers(used_up, _untouched(UNLIMITED_TOKENS))
        raise Refusal(status, code=faults.error_code, headers=headers)

    def _authenticate(self, request: ReceivedRequest) -> None:
        if self.config.api_keys is None:
            return
        if request.bearer_token not in self.config.api_keys:
            raise Refusal(401)

    def _limit(self, usage: Usage) -> dict[str, str]:
        """Count the request against its limits and return the headers that tell of them."""
        if self._requests is None and self._tokens is None:
            return _UNLIMITED
        now = self._monotonic()
        tokens = usage.prompt_tokens + usage.completion_tokens
        request_state = self._requests.take(1, now) if self._requests else _untouched(UNLIMITED_REQUESTS)
        token_state = self._tokens.take(tokens, now) if self._tokens else _untouched(UNLIMITED_TOKENS)
        headers = rate_limit_headers(request_state, token_state)
        for kind, unit, state in (("requests", "RPM", request_state), ("tokens", "TPM", token_state)):
            if state.wait_seconds > 0:
                raise Refusal(
                    429,
                    f"Rate limit reached on {kind} per min ({unit}): Limit {state.limit}. "
                    f"Please try again in {state.wait_seconds:.3f}s.",
                    type=kind,
                    code="rate_limit_exceeded",
                    headers=headers | retry_after_headers(state.wait_seconds),
                )
        return headers


def _refuse_unknown(request: ReceivedRequest, members: tuple[str, ...]) -> None:
    """As servers do that check a request against a schema without further members."""
    if not members:
        return
    try:
        written = msgspec.json.decode(request.body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    for name in members:
        if name in written:
            raise invalid(f"Unrecognized request argument supplied: {name}", param=name, code="unknown_parameter")


def _one_line(value: str) -> str:
    """A line break inside a header's value would start a header of its own."""
    return value.replace("\r", " ").replace("\n", " ")


def _untouched(limit: int) -> RateLimitState:
    return RateLimitState(limit=limit, remaining=limit - 1, reset_seconds=0.006)


_UNLIMITED = rate_limit_headers(_untouched(UNLIMITED_REQUESTS), _untouched(UNLIMITED_TOKENS))
