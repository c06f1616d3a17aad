"""The schema of what watches and shapes traffic: limits of providers, waiting for them, loops of agents, alerts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from router_extproc.config.budgets import ModeName
from router_extproc.config.section import Section
from router_extproc.config.values import Count, Dollars, FilePath, Milliseconds, VariableName, WebAddress

_HOUR_MS = 3_600_000


class ProviderLimits(Section):
    """What a provider allows, over all instances: rolling minutes, and requests at once."""

    requests_per_minute: Count | None = Field(None, description="Requests.")
    tokens_per_minute: Count | None = Field(None, description="Tokens of prompts and answers together.")
    parallel: Count | None = Field(None, description="Requests in progress at once.")


class Waiting(Section):
    """What happens to a request when every deployment that could serve it is at its provider's limit."""

    max_wait: Annotated[Milliseconds, Field(le=60_000)] = Field(
        2_000, description="How long it may wait for the earliest reset; then it is answered 429."
    )
    max_waiters: Annotated[int, Field(ge=0, le=100_000)] = Field(
        100, description="How many requests of one worker may wait at once; 0 for none."
    )
    learned: Literal["enforce", "try"] = Field(
        "enforce",
        description="When all are used up by their own word for longer than that: answer 429, or ask the provider anyway.",
    )
    interactive_share: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.1, description="The share of every provider's limit that batch work leaves to interactive work."
    )


class LoopGuard(Section):
    """When a session is warned, then asked for a summary, then stopped."""

    mode: ModeName = Field("off", description="observe counts and reports, and changes nothing.")
    repeats: Annotated[int, Field(ge=2, le=1_000)] = Field(5, description="So many near-identical requests or tool calls.")
    steps: Count | None = Field(None, description="So many requests of one session. Default: any number.")
    usd: Dollars | None = Field(None, description="So many US dollars of one session. Default: any amount.")
    window: Annotated[Milliseconds, Field(ge=1_000, le=7 * 24 * _HOUR_MS)] = Field(
        _HOUR_MS, description="How far back a session is looked at."
    )


class Webhook(Section):
    """Where alerts are posted to, as JSON that Slack understands."""

    env: VariableName | None = Field(None, description="Name of the variable with the address.")
    file: FilePath | None = Field(None, description="Path of the file with the address.")
    url: WebAddress | None = Field(None, description="The address itself, where it is no secret.")

    @model_validator(mode="after")
    def _one_source(self) -> Webhook:
        if sum(each is not None for each in (self.env, self.file, self.url)) != 1:
            message = "the address is read from exactly one of `env`, `file` and `url`"
            raise PydanticCustomError("one_of", message, {"fix": "write env: NAME_OF_A_VARIABLE or file: /path/to/address"})
        return self


class Alerts(Section):
    """Where alerts go, beside log and metrics."""

    webhook: Webhook | None = Field(None, description="Post them to this address.")
