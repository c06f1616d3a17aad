"""The schema of ``router.yaml``: what a user may write, each key with its meaning, unit and default.

What a file leaves out about a model (prices, limits, capabilities) is filled from the dated catalogue when the file is
compiled, not here: this module is the file and nothing else. It is validated in strict mode on what ``tree.plain``
returns: lists come as tuples, and a quoted number is text.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from router_extproc.config.analysis import Analysis
from router_extproc.config.auth import Auth
from router_extproc.config.budgets import Budget, ProviderBudget
from router_extproc.config.secret import Secret
from router_extproc.config.section import Section
from router_extproc.config.store import Store
from router_extproc.config.tenants import Key, Tenant
from router_extproc.config.traffic import Alerts, LoopGuard, ProviderLimits, Waiting
from router_extproc.config.values import (
    CREDENTIAL_NAME,
    HEADER_NAME,
    VARIABLE_NAME,
    ApiPath,
    BaseUrl,
    Bytes,
    CapabilityName,
    Count,
    FilePath,
    HttpVersion,
    KeyId,
    Milliseconds,
    ModelId,
    Name,
    NamePattern,
    OwnId,
    Port,
    Price,
    Quality,
    Share,
    StrategyName,
    TaskName,
    TierName,
    Weight,
)  # fmt: skip
from router_extproc.config.when import When

OnRouterFailureName = Literal["allow", "refuse"]


class Tls(Section):
    """The listener's certificate chain and private key: PEM files, re-read when they change."""

    certificate: FilePath = Field(description="The certificate, intermediate ones after it.")
    key: FilePath = Field(description="The private key of the certificate.")


class Listener(Section):
    """Where clients connect: plain HTTP is allowed on loopback only, unless ``tls`` is set or ``plain`` is written out."""

    address: str = Field("127.0.0.1", description="IP address; 0.0.0.0 or :: for all.")
    port: Port = Field(10000, description="TCP port.")
    tls: Tls | None = Field(None, description="Serve HTTPS with this certificate.")
    plain: bool = Field(
        default=False, description="Allow plain HTTP beyond loopback, for example behind a mesh that does mTLS."
    )


class Admin(Section):
    """Where ``/metrics``, ``/healthz``, ``/readyz`` and the admin API listen."""

    address: str = Field("127.0.0.1", description="IP address; 0.0.0.0 or :: for all.")
    port: Port = Field(9902, description="TCP port.")
    token: Secret | None = Field(
        None, description="Whoever brings this bearer token may read and change keys and budgets from another machine."
    )


class EnvoyOptions(Section):
    """Envoy's own admin address and how many worker threads it runs (default: one for each core)."""

    admin_address: str = Field("127.0.0.1", description="IP address; whoever can connect to it can stop Envoy.")
    admin_port: Port = Field(9901, description="TCP port.")
    concurrency: Annotated[int, Field(ge=1, le=256)] | None = Field(None, description="Worker threads.")


class Limits(Section):
    """Bounds on what one request, and all requests of one worker, may hold in memory."""

    max_body_bytes: Annotated[Bytes, Field(le=1 << 30)] = Field(32 << 20, description="A larger request body is answered 413.")
    max_body_bytes_in_flight: Annotated[Bytes, Field(le=1 << 40)] = Field(
        128 << 20, description="Request bodies one worker holds at once; more wait."
    )


class Workers(Section):
    """The decider processes."""

    count: Annotated[int, Field(ge=1, le=64)] = Field(2, description="How many processes.")
    drain_timeout: Milliseconds = Field(600_000, description="How long a stopping process waits for running answers.")
    drain_delay: Annotated[Milliseconds, Field(le=600_000)] | None = Field(
        None, description="How long a stopping instance serves on while /readyz says no, so that balancers go elsewhere first."
    )


class Credential(Section):
    """One key of a provider, read from a file (re-read when it changes) or an environment variable; never inline."""

    name: str | None = Field(
        None, pattern=CREDENTIAL_NAME, max_length=60, description="Ends the deployment's name. Default: its place, from 1."
    )
    env: str | None = Field(None, pattern=VARIABLE_NAME, max_length=120, description="Name of the variable with the key.")
    file: FilePath | None = Field(None, description="Path of the file with the key, relative to this file.")
    weight: Weight = Field(1.0, description="Share of requests against the provider's other keys.")
    limits: ProviderLimits = Field(ProviderLimits(), description="What the provider allows this key, for each model.")

    @model_validator(mode="after")
    def _one_source(self) -> Credential:
        if (self.env is None) == (self.file is None):
            message = "a credential is read from exactly one of `env` and `file`"
            raise PydanticCustomError("one_of", message, {"fix": "write env: NAME_OF_A_VARIABLE or file: /path/to/key"})
        return self


class Outlier(Section):
    """When Envoy takes a provider's address out of its own load balancing (5xx and 429 count)."""

    consecutive_failures: Count = Field(10, description="Failures in a row.")
    ejection_time: Milliseconds = Field(10_000, description="How long the address is left out.")


class Provider(Section):
    """One endpoint that speaks a provider's API.

    ``models`` is the short way to add deployments: each named model gets one on this provider, ``*`` serves any name.
    """

    base_url: BaseUrl = Field(description="Scheme, host and the path that stands before `/chat/completions`.")
    dialect: Literal["openai"] = Field("openai", description="The API that the provider speaks.")
    region: Name | None = Field(None, description="Where the provider computes; clients may ask for it by x-router-region.")
    credentials: tuple[Credential, ...] = Field((), description="The keys; each becomes a deployment of its own.")
    credential_header: str = Field("authorization", pattern=HEADER_NAME, description="The header that carries the key.")
    credential_prefix: str = Field(
        "Bearer ", description="Written before the key; default `Bearer ` for authorization, else nothing."
    )
    http_version: HttpVersion = Field("1.1", description="What the provider is spoken to with.")
    certificate_authority: FilePath | None = Field(None, description="PEM file; default: the system's roots.")
    paths: tuple[ApiPath, ...] | None = Field(
        None, description="Paths served, `*` at the end for any rest. Default: the API's."
    )
    models: tuple[NamePattern, ...] = Field((), description="Models served under the names the provider knows them by.")
    include_stream_usage: bool = Field(
        default=True, description="Ask counted streams for their usage; false where the provider refuses `stream_options`."
    )
    connect_timeout: Milliseconds = Field(2_000, description="Time for TCP and TLS.")
    max_connections: Count = Field(100_000, description="Connections at once; beyond it requests wait.")
    max_requests: Count = Field(100_000, description="Requests at once; beyond it Envoy refuses further ones.")
    outlier: Outlier = Field(Outlier(), description="When an address of the provider is left out.")
    limits: ProviderLimits = Field(ProviderLimits(), description="What the provider allows, all keys and models together.")
    budget: ProviderBudget | None = Field(None, description="What may be spent there; at its end requests go elsewhere.")

    @model_validator(mode="after")
    def _prefix_follows_header(self) -> Provider:
        if self.credential_header != "authorization" and "credential_prefix" not in self.model_fields_set:
            object.__setattr__(self, "credential_prefix", "")
        return self


class Prices(Section):
    """USD per million tokens, and of what has none: pictures, sound and videos by the piece."""

    input: Price | None = Field(None, description="Prompt tokens. Required, unless something has a price by the piece.")
    output: Price | None = Field(None, description="Tokens of the answer. Required as `input`.")
    cached_input: Price | None = Field(None, description="Prompt tokens read from the provider's cache. Default: as input.")
    request: Price | None = Field(None, description="USD for each request, beside its tokens or pieces.")
    tool_call: Price | None = Field(None, description="USD for each use of a tool that the provider runs itself, the dearest.")
    image: Price | None = Field(None, description="USD for each picture made, in place of tokens.")
    characters: Price | None = Field(None, description="USD per million characters spoken, in place of tokens.")
    audio_minute: Price | None = Field(None, description="USD for each minute transcribed or translated, in place of tokens.")
    video_second: Price | None = Field(None, description="USD for each second of a video made, in place of tokens.")

    @model_validator(mode="after")
    def _has_a_price(self) -> Prices:
        missing = [name for name in ("input", "output") if getattr(self, name) is None]
        needed = len(missing) == 1 or self.cached_input is not None or not (self.makes_no_text or self.request is not None)
        if missing and needed:
            message = f"`{missing[0]}` is missing"
            raise PydanticCustomError("missing_price", message, {"fix": f"write `{missing[0]}: …`, USD per million tokens"})
        return self

    @property
    def makes_no_text(self) -> bool:
        """Whether something has a price by the piece."""
        return any(price is not None for price in (self.image, self.characters, self.audio_minute, self.video_second))


class Deployment(Section):
    """One way to reach a model: a provider and the provider's own id of the model (default: the model's name)."""

    provider: Name = Field(description="A name under `providers`.")
    model: ModelId | None = Field(None, description="The provider's own id; `*` stands for what a wildcard model matched.")
    name: Name | None = Field(None, description="Default: provider/model.")
    weight: Weight = Field(1.0, description="Share of requests against the model's other deployments.")


class Model(Section):
    """A logical model. What is left out comes from the catalogue that the package carries."""

    deployments: tuple[Deployment, ...] = Field((), description="Where it is served, beside providers that list it.")
    tier: TierName | None = Field(None, description="Models of like capability. Default: standard.")
    quality: Quality | None = Field(None, description="Compares models of one tier. Default: 0.5.")
    context_window: Count | None = Field(None, description="Tokens, prompt and answer together.")
    output_limit: Count | None = Field(None, description="Tokens.")
    capabilities: tuple[CapabilityName, ...] | None = Field(None, description="What it can do, complete: [] for text alone.")
    strengths: tuple[TaskName, ...] | None = Field(None, description="Tasks it is known to do well.")
    prices: Prices | None = Field(None, description="USD per million tokens.")


def _also_as_text(schema: JsonDict) -> None:
    """Says in the JSON Schema that a plain text is enough."""
    mapping = dict(schema)
    schema.clear()
    schema |= {"anyOf": [{"type": "string", "description": "A model's name."}, mapping]}


class Target(Section):
    """What an attempt may use: a model, a tier, or one deployment. With ``weight``, the order is drawn by weight."""

    model_config = ConfigDict(json_schema_extra=_also_as_text)

    model: str | None = Field(None, description="A model's name.")
    tier: TierName | None = Field(None, description="Any model of the tier.")
    deployment: str | None = Field(None, description="A deployment's name, with or without one of its keys.")
    weight: Weight | None = Field(None, description="Chance to stand first, against the other targets' weights.")

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

    strategy: StrategyName | None = Field(None, description="Default: ordered with targets, auto without.")
    quality: Share | None = Field(
        None, description="For auto: the least probability of a good enough answer. Default: 0.7; in a rule the route's."
    )
    targets: tuple[Target, ...] = Field((), description="What is tried. Default: every model that generates text.")
    min_tier: TierName | None = Field(None, description="Never a weaker model: 503 instead.")
    min_quality: Quality | None = Field(None, description="Never a model of lower quality: 503 instead.")
    same_tier: bool | None = Field(
        None,
        description="After the targets, try their tier's other models. Default: only when fewer than two targets are named.",
    )
    last_resort: tuple[Target, ...] = Field((), description="What is tried when all else failed.")
    after: CauseChains = Field(CauseChains(), description="What is tried instead after certain causes of failure.")


class Timeouts(Section):
    """``deadline`` bounds a plain call to its last byte and a stream to its first byte, over all attempts."""

    deadline: Milliseconds = Field(600_000, description="For the whole request.")
    attempt: Milliseconds | None = Field(
        None, description="One attempt, until its response headers. Default: the deadline; 120s for streams."
    )
    first_token: Milliseconds | None = Field(
        None, description="A stream silent for this long before its first token moves on to the next attempt."
    )
    stream_idle: Milliseconds = Field(300_000, description="A started stream silent for this long is ended.")


class Retry(Section):
    """How far a failed attempt may be followed by another."""

    max_attempts: Annotated[int, Field(ge=1, le=10)] = Field(4, description="The first one included.")
    within: Milliseconds = Field(60_000, description="An answer (429, 5xx) that took longer than this to fail is not retried.")


class Check(Section):
    """Which successful answers the attempt leg judges before the client sees them."""

    answer: bool = Field(default=False, description="An empty or malformed 200 counts as a failed attempt.")


class Route(Plan):
    """A name that clients may write in ``model``."""

    mode: Literal["route", "passthrough"] = Field("route", description="passthrough looks at nothing but `model`.")
    allow_cross_model: bool = Field(default=False, description="For a route named like a model: other models may answer.")
    timeouts: Timeouts | None = Field(None, description="Default, key by key: those of `defaults`.")
    retry: Retry | None = Field(None, description="Default, key by key: that of `defaults`.")
    check: Check | None = Field(None, description="Default: that of `defaults`.")
    on_router_failure: OnRouterFailureName | None = Field(None, description="Default: that of `defaults`.")
    safety_critical: bool = Field(default=False, description="No budget ever moves its requests to a cheaper tier.")


class Rule(Section):
    """The first rule whose ``when`` holds replaces the route's plan by ``then``."""

    name: Name = Field(description="Stands in x-router-reason as rule:NAME.")
    when: When = Field(When(), description="Default: every request to auto.")
    then: Plan = Field(description="Where the request goes.")


class Cooling(Section):
    """When a deployment is left alone for a while."""

    failures: Count = Field(5, description="Failed attempts in a row.")
    failure_ratio: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5, description="Share of failed attempts within `window`, of at least 10."
    )
    window: Milliseconds = Field(30_000, description="How far back the ratio looks.")
    time: Milliseconds = Field(5_000, description="First cool-down; doubles while probes fail.")
    max_time: Milliseconds = Field(300_000, description="The longest cool-down.")


class Defaults(Section):
    """What routes use unless they write their own."""

    timeouts: Timeouts = Field(Timeouts(), description="How long things may take.")
    retry: Retry = Field(Retry(), description="How often things are tried.")
    check: Check = Field(Check(), description="Which answers are looked at.")
    on_router_failure: OnRouterFailureName | None = Field(
        None, description="Requests that no worker decided. Default: refuse where keys or enforced budgets exist, else allow."
    )


class DecisionLog(Section):
    """The decision log: JSON lines, never with bodies, and a SQLite file of the same records."""

    max_file_bytes: Annotated[Bytes, Field(le=1 << 40)] = Field(
        64 << 20, description="The file is rotated at this size, three are kept."
    )
    keep: Milliseconds = Field(7 * 24 * 3_600_000, description="How long SQLite keeps a record.")
    keep_records: Count = Field(1_000_000, description="How many records SQLite keeps, the newest; each takes one or two KB.")


class RouterConfig(Section):
    """``router.yaml``."""

    version: Literal[1] = Field(1, description="Of this format.")
    listener: Listener = Field(Listener(), description="Where clients connect.")
    admin: Admin = Field(Admin(), description="Metrics, health and the admin API.")
    envoy: EnvoyOptions = Field(EnvoyOptions(), description="Envoy's own settings.")
    limits: Limits = Field(Limits(), description="Bounds on memory.")
    workers: Workers = Field(Workers(), description="The processes that decide.")
    providers: dict[Name, Provider] = Field({}, description="Endpoints and their keys, by a name of your choice.")
    models: dict[NamePattern, Model] = Field({}, description="What is served; the name is what clients write in `model`.")
    aliases: dict[Name, str] = Field({}, description="Further names of models and routes.")
    routes: dict[NamePattern, Route] = Field({}, description="auto, fast, cheap, best, a model's name, or one of your own.")
    rules: tuple[Rule, ...] = Field((), description="The first that holds decides.")
    default_chain: tuple[Target, ...] = Field(
        (), description="Served by Envoy alone when no worker can decide. Default: the targets of auto."
    )
    defaults: Defaults = Field(Defaults(), description="Limits of every route that writes none of its own.")
    cooling: Cooling = Field(Cooling(), description="When failing deployments are left alone.")
    analysis: Analysis = Field(Analysis(), description="How it is found out what a request is.")
    decision_log: DecisionLog = Field(DecisionLog(), description="What is kept of each decision.")
    auth: Auth = Field(Auth(), description="How callers prove who they are.")
    tenants: dict[Name, Tenant] = Field({}, description="Who pays, and what they may use.")
    keys: dict[KeyId, Key] = Field({}, description="Virtual keys by id, beside those made at run time.")
    budgets: dict[OwnId, Budget] = Field({}, description="Caps on money, tokens and requests, by a name of your choice.")
    store: Store = Field(Store(), description="Where counters live.")
    alerts: Alerts = Field(Alerts(), description="Where alerts go.")
    loop_guard: LoopGuard = Field(LoopGuard(), description="When sessions that repeat themselves are stopped.")
    waiting: Waiting = Field(Waiting(), description="What happens while every provider is at its limit.")
