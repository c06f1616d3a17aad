"""The schema of ``router.yaml``: what a user may write, each key with its meaning, unit and default.

What a file leaves out about a model (prices, limits, capabilities) is filled from the dated catalogue when the file is
compiled, not here: this module is the file and nothing else. It is validated in strict mode on what ``tree.plain``
returns: lists come as tuples, and a quoted number is text.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from router_extproc.config.redaction import shown

TierName = Literal["economy", "standard", "premium"]
CapabilityName = Literal[
    "vision", "tools", "json_mode", "json_schema", "audio", "files", "logprobs", "embeddings", "speech", "transcription",
]  # fmt: skip
TaskName = Literal[
    "code", "math", "reasoning", "structured_extraction", "classification", "summarization", "translation", "qa", "rag_qa",
    "creative_writing", "chat", "planning", "tool_step",
]  # fmt: skip
StrategyName = Literal["ordered", "cheap", "fast", "best"]

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s|m|h|d)")
_MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_LONGEST_DURATION = 10 * 366 * _MILLISECONDS["d"]
_SIZE = re.compile(r"([0-9]{1,12})(B|KiB|MiB|GiB)")
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

# Patterns of text values; messages.py says each in words.
NAME = r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]*$"
NAME_PATTERN = r"^(\*|[A-Za-z0-9][A-Za-z0-9._:/@+-]*\*?)$"
CREDENTIAL_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
BASE_URL = r"^https?://[^/\s?#@]+(/[^\s?#]*)?$"
HEADER_NAME = r"^[a-z0-9-]+$"
VARIABLE_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"
API_PATH = r"^/v1/[^\s]*$"


def read_duration(value: object) -> object:
    """Turns ``500ms``, ``30s``, ``2m``, ``1h``, ``7d`` or a number of seconds into milliseconds; else it is refused."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        milliseconds = value * 1_000.0
    elif isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        milliseconds = float(match[1]) * _MILLISECONDS[match[2]]
    else:
        raise PydanticCustomError("duration", "expected a duration", {"fix": "write for example 500ms, 30s, 2m, 1h or 7d"})
    if not 1 <= milliseconds <= _LONGEST_DURATION:
        message = "{found} is no usable duration"
        context = {"found": shown(str(value)), "fix": "write something between 1ms and ten years"}
        raise PydanticCustomError("duration_range", message, context)
    return round(milliseconds)


def read_size(value: object) -> object:
    """Turns ``32MiB``, ``512KiB`` or a number of bytes into bytes; anything else is refused."""
    if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        return int(match[1]) * _BYTES[match[2]]
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise PydanticCustomError("size", "expected a size", {"fix": "write for example 32MiB, 512KiB or a number of bytes"})


def read_http_version(value: object) -> object:
    """Lets ``1.1`` and ``2`` stand without quotes."""
    return str(value) if value in (1.1, 2) and not isinstance(value, bool) else value


def read_path(value: str, info: ValidationInfo) -> str:
    """A relative path is meant from the directory of the file that holds it, which ``load`` gives as context."""
    directory = info.context.get("directory") if isinstance(info.context, dict) else None
    return str(Path(directory) / value) if directory is not None else value


DURATION_SCHEMA = {"anyOf": [{"type": "string", "pattern": f"^{_DURATION.pattern}$"}, {"type": "number"}]}
SIZE_SCHEMA = {"anyOf": [{"type": "string", "pattern": f"^{_SIZE.pattern}$"}, {"type": "integer"}]}

Milliseconds = Annotated[int, BeforeValidator(read_duration), WithJsonSchema(DURATION_SCHEMA)]
Bytes = Annotated[int, Field(gt=0), BeforeValidator(read_size), WithJsonSchema(SIZE_SCHEMA)]
Port = Annotated[int, Field(ge=1, le=65535)]
Name = Annotated[str, Field(pattern=NAME, max_length=120)]
NamePattern = Annotated[str, Field(pattern=NAME_PATTERN, max_length=120)]
FilePath = Annotated[str, Field(min_length=1), AfterValidator(read_path)]
HttpVersion = Annotated[Literal["1.1", "2"], BeforeValidator(read_http_version), WithJsonSchema({"enum": ["1.1", "2", 1.1, 2]})]
Weight = Annotated[float, Field(gt=0, le=1_000_000)]
Price = Annotated[float, Field(ge=0, le=1_000_000)]
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]


class Section(BaseModel):
    """Every part of the file: unknown keys are refused, values do not change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Tls(Section):
    """The listener's certificate chain and private key: PEM files, re-read when they change."""

    certificate: FilePath
    key: FilePath


class Listener(Section):
    """Where clients connect: plain HTTP is allowed on loopback only, unless ``tls`` is set or ``plain`` is written out."""

    address: str = "127.0.0.1"
    port: Port = 10000
    tls: Tls | None = None
    plain: bool = Field(
        default=False, description="Allow plain HTTP beyond loopback, for example behind a mesh that does mTLS."
    )


class Admin(Section):
    """Where ``/metrics``, ``/healthz``, ``/readyz`` and the admin API listen."""

    address: str = "127.0.0.1"
    port: Port = 9902


class EnvoyOptions(Section):
    """Envoy's own admin address and how many worker threads it runs (default: one for each core)."""

    admin_address: str = "127.0.0.1"
    admin_port: Port = 9901
    concurrency: Annotated[int, Field(ge=1, le=256)] | None = None


class Limits(Section):
    """Bounds on what one request, and all requests of one worker, may hold in memory."""

    max_body_bytes: Annotated[Bytes, Field(le=1 << 30)] = Field(32 << 20, description="A larger request body is answered 413.")
    max_body_bytes_in_flight: Annotated[Bytes, Field(le=1 << 40)] = Field(
        128 << 20, description="Request bodies one worker holds at once; more wait."
    )


class Workers(Section):
    """The decider processes."""

    count: Annotated[int, Field(ge=1, le=64)] = 2
    drain_timeout: Milliseconds = Field(600_000, description="How long a stopping process waits for running answers.")


class Credential(Section):
    """One key of a provider, read from a file (re-read when it changes) or an environment variable; never inline."""

    name: str | None = Field(None, pattern=CREDENTIAL_NAME, max_length=60)
    env: str | None = Field(None, pattern=VARIABLE_NAME, max_length=120)
    file: FilePath | None = None
    weight: Weight = 1.0

    @model_validator(mode="after")
    def _one_source(self) -> Credential:
        if (self.env is None) == (self.file is None):
            message = "a credential is read from exactly one of `env` and `file`"
            raise PydanticCustomError("one_of", message, {"fix": "write env: NAME_OF_A_VARIABLE or file: /path/to/key"})
        return self


class Outlier(Section):
    """When Envoy takes a provider's address out of its own load balancing (5xx and 429 count)."""

    consecutive_failures: Count = 10
    ejection_time: Milliseconds = 10_000


class Provider(Section):
    """One endpoint that speaks a provider's API.

    ``models`` is the short way to add deployments: each named model gets one on this provider, ``*`` serves any name.
    """

    base_url: str = Field(
        pattern=BASE_URL, max_length=500, description="Scheme, host and the path that stands before `/chat/completions`."
    )
    dialect: Literal["openai"] = "openai"
    region: Name | None = None
    credentials: tuple[Credential, ...] = ()
    credential_header: str = Field("authorization", pattern=HEADER_NAME)
    credential_prefix: str = Field(
        "Bearer ", description="Written before the key; default `Bearer ` for authorization, else nothing."
    )
    http_version: HttpVersion = "1.1"
    certificate_authority: FilePath | None = Field(None, description="PEM file; default: the system's roots.")
    paths: tuple[Annotated[str, Field(pattern=API_PATH)], ...] | None = Field(
        None, description="Paths served; `*` at the end matches the rest."
    )
    models: tuple[NamePattern, ...] = ()
    connect_timeout: Milliseconds = 2_000
    max_connections: Count = 100_000
    max_requests: Count = 100_000
    outlier: Outlier = Outlier()

    @model_validator(mode="after")
    def _prefix_follows_header(self) -> Provider:
        if self.credential_header != "authorization" and "credential_prefix" not in self.model_fields_set:
            object.__setattr__(self, "credential_prefix", "")
        return self


class Prices(Section):
    """USD per million tokens."""

    input: Price
    output: Price
    cached_input: Price | None = None


class Deployment(Section):
    """One way to reach a model: a provider and the provider's own id of the model (default: the model's name)."""

    provider: Name
    model: str | None = None
    name: Name | None = None
    weight: Weight = 1.0


class Model(Section):
    """A logical model. What is left out comes from the catalogue that the package carries."""

    deployments: tuple[Deployment, ...] = ()
    tier: TierName | None = None
    quality: Annotated[float, Field(ge=0, le=1)] | None = None
    context_window: Count | None = Field(None, description="Tokens, prompt and answer together.")
    output_limit: Count | None = Field(None, description="Tokens.")
    capabilities: tuple[CapabilityName, ...] | None = None
    strengths: tuple[TaskName, ...] | None = None
    prices: Prices | None = None


def _also_as_text(schema: JsonDict) -> None:
    """Says in the JSON Schema that a plain text is enough."""
    mapping = dict(schema)
    schema.clear()
    schema |= {"anyOf": [{"type": "string", "description": "A model's name."}, mapping]}


class Target(Section):
    """What an attempt may use: a model, a tier, or one deployment. With ``weight``, the order is drawn by weight."""

    model_config = ConfigDict(json_schema_extra=_also_as_text)

    model: str | None = None
    tier: TierName | None = None
    deployment: str | None = None
    weight: Weight | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: object) -> object:
        return {"model": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_kind(self) -> Target:
        written = sum(kind is not None for kind in (self.model, self.tier, self.deployment))
        if written != 1:
            message = "a target names exactly one of `model`, `tier` and `deployment`"
            raise PydanticCustomError("one_of", message, {"fix": "keep one of them" if written else "write one of them"})
        return self


class CauseChains(Section):
    """Where to go next when an attempt was answered with this cause. Connect failures and timeouts follow the route's chain."""

    rate_limited: tuple[Target, ...] = Field((), description="The provider answered 429.")
    server_error: tuple[Target, ...] = Field((), description="The provider answered 5xx.")
    context_length: tuple[Target, ...] = Field(
        (), description="The provider answered 400: the prompt is too long for the model."
    )


class Plan(Section):
    """Where requests go: shared by routes and rules."""

    strategy: StrategyName | None = None
    targets: tuple[Target, ...] = ()
    min_tier: TierName | None = Field(None, description="Never a weaker model: 503 instead.")
    same_tier: bool | None = Field(
        None,
        description="After the targets, try their tier's other models. Default: only when fewer than two targets are named.",
    )
    last_resort: tuple[Target, ...] = ()
    after: CauseChains = CauseChains()


class Timeouts(Section):
    """``deadline`` bounds a plain call to its last byte and a stream to its first byte, over all attempts."""

    deadline: Milliseconds = 600_000
    attempt: Milliseconds | None = Field(
        None, description="One attempt, until its response headers. Default: the deadline; 120s for streams."
    )
    first_token: Milliseconds | None = Field(
        None, description="A stream silent for this long before its first token moves on to the next attempt."
    )
    stream_idle: Milliseconds = Field(300_000, description="A started stream silent for this long is ended.")


class Retry(Section):
    """How far a failed attempt may be followed by another."""

    max_attempts: Annotated[int, Field(ge=1, le=10)] = 4
    within: Milliseconds = Field(60_000, description="An answer (429, 5xx) that took longer than this to fail is not retried.")


class Check(Section):
    """Which successful answers the attempt leg judges before the client sees them."""

    answer: bool = Field(default=False, description="An empty or malformed 200 counts as a failed attempt.")


class Route(Plan):
    """A name that clients may write in ``model``."""

    mode: Literal["route", "passthrough"] = "route"
    allow_cross_model: bool = Field(default=False, description="For a route named like a model: other models may answer.")
    timeouts: Timeouts | None = None
    retry: Retry | None = None
    check: Check | None = None


class Range(Section):
    """Inclusive bounds."""

    at_least: Annotated[int, Field(ge=0, le=1_000_000_000)] | None = None
    at_most: Annotated[int, Field(ge=0, le=1_000_000_000)] | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> Range:
        if self.at_least is None and self.at_most is None:
            raise PydanticCustomError("empty_range", "no bound is written", {"fix": "write `at_least`, `at_most` or both"})
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            message = "at_least {at_least} is above at_most {at_most}: nothing can match"
            context = {"at_least": self.at_least, "at_most": self.at_most, "fix": "exchange them"}
            raise PydanticCustomError("empty_range", message, context)
        return self


class When(Section):
    """All that is written must hold. Strings match exactly, or by prefix when they end in ``*``."""

    route: tuple[str, ...] = Field((), description="Routes the rule applies to. Default: auto.")
    headers: dict[Annotated[str, Field(pattern=HEADER_NAME)], str] = {}
    path: str | None = None
    prompt_tokens: Range | None = None
    code: bool | None = None
    tools: bool | None = None
    images: bool | None = None
    stream: bool | None = None

    @field_validator("route", mode="before", json_schema_input_type=str | tuple[str, ...])
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


class Rule(Section):
    """The first rule whose ``when`` holds replaces the route's plan by ``then``."""

    name: Name
    when: When = When()
    then: Plan


class Cooling(Section):
    """When a deployment is left alone for a while."""

    failures: Count = Field(5, description="Failed attempts in a row.")
    failure_ratio: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5, description="Share of failed attempts within `window`, of at least 10."
    )
    window: Milliseconds = 30_000
    time: Milliseconds = Field(5_000, description="First cool-down; doubles while probes fail.")
    max_time: Milliseconds = 300_000


class Defaults(Section):
    """What routes use unless they write their own."""

    timeouts: Timeouts = Timeouts()
    retry: Retry = Retry()
    check: Check = Check()


class DecisionLog(Section):
    """The decision log: JSON lines, never with bodies, and a SQLite file of the same records."""

    max_file_bytes: Annotated[Bytes, Field(le=1 << 40)] = Field(
        64 << 20, description="The file is rotated at this size, three are kept."
    )
    keep: Milliseconds = Field(7 * 24 * 3_600_000, description="How long SQLite keeps a record.")


class RouterConfig(Section):
    """``router.yaml``."""

    version: Literal[1] = 1
    listener: Listener = Listener()
    admin: Admin = Admin()
    envoy: EnvoyOptions = EnvoyOptions()
    limits: Limits = Limits()
    workers: Workers = Workers()
    providers: dict[Name, Provider] = Field(default_factory=dict)
    models: dict[NamePattern, Model] = Field(default_factory=dict)
    aliases: dict[Name, str] = Field(default_factory=dict)
    routes: dict[NamePattern, Route] = Field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    default_chain: tuple[Target, ...] = Field(
        (), description="Served by Envoy alone when no worker can decide. Default: the targets of auto."
    )
    defaults: Defaults = Defaults()
    cooling: Cooling = Cooling()
    decision_log: DecisionLog = DecisionLog()
