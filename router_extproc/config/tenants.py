"""The schema of ``tenants`` and ``keys``: who may use what."""

from __future__ import annotations

from pydantic import ConfigDict, Field, model_validator
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from router_extproc.config.budgets import Budget
from router_extproc.config.section import Section
from router_extproc.config.values import (
    Count,
    DigestText,
    Instant,
    LabelValue,
    Name,
    NamePattern,
    OwnId,
    PriorityName,
    Revocation,
    TierName,
)


class Permissions(Section):
    """What may be used; what is left out allows everything. Names ending in ``*`` match by prefix."""

    routes: tuple[NamePattern, ...] | None = Field(None, description="Routes.")
    models: tuple[NamePattern, ...] | None = Field(None, description="Models that may answer.")
    tiers: tuple[TierName, ...] | None = Field(None, description="Tiers whose models may answer.")
    regions: tuple[Name, ...] | None = Field(None, description="Regions of providers that may be used.")
    max_context_tokens: Count | None = Field(None, description="A longer prompt, or one its provider adds to, is refused.")
    max_output_tokens: Count | None = Field(None, description="Answers are cut to this.")


class Tenant(Section):
    """What holds for everybody of a tenant."""

    permissions: Permissions = Field(Permissions(), description="What its callers may use.")
    tier: LabelValue | None = Field(None, description="Class of service, such as premium; travels on as metadata.")
    features: tuple[OwnId, ...] = Field((), description="Flags that are on; they travel on as metadata.")
    tags: dict[OwnId, LabelValue] = Field({}, description="Further labels, for budgets, logs and metadata.")
    priority: PriorityName = Field("interactive", description="Under saturation interactive work goes before batch.")


def _also_as_text(schema: JsonDict) -> None:
    """Says in the JSON Schema that the digest alone is enough."""
    mapping = dict(schema)
    properties = mapping["properties"]
    text = properties["digest"] if isinstance(properties, dict) else {}
    schema.clear()
    schema |= {"anyOf": [text, mapping]}


class Digest(Section):
    """The salted hash of a key, and until when the key is accepted. A digest without an end may be written as text."""

    model_config = ConfigDict(json_schema_extra=_also_as_text)

    digest: DigestText = Field(description="`sha256:SALT:HASH`, both in hexadecimal.")
    until: Instant | None = Field(None, description="When the key ends. Default: when the whole entry does.")

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: object) -> object:
        return {"digest": value} if isinstance(value, str) else value


class Key(Section):
    """A virtual key: what it stands for, and a salted hash by which it is known again."""

    tenant: Name = Field(description="A name under `tenants`.")
    digest: DigestText | None = Field(None, description="`sha256:SALT:HASH` of the key.")
    digests: tuple[Digest, ...] = Field((), description="Several, while one key replaces another.")
    team: LabelValue | None = Field(None, description="The team.")
    user: LabelValue | None = Field(None, description="The user.")
    tags: dict[OwnId, LabelValue] = Field({}, description="Further labels, beside the tenant's.")
    tier: LabelValue | None = Field(None, description="Class of service. Default: the tenant's.")
    features: tuple[OwnId, ...] = Field((), description="Flags that are on, beside the tenant's.")
    priority: PriorityName | None = Field(None, description="interactive or batch. Default: the tenant's.")
    expires: Instant | None = Field(None, description="When the key ends. Default: never.")
    permissions: Permissions = Field(Permissions(), description="What it may use of what its tenant may.")
    budgets: dict[OwnId, Budget] = Field({}, description="Budgets of this key alone.")
    revoked: Revocation = Field(None, description="true, or since when the key is no longer accepted.")

    @model_validator(mode="after")
    def _one_way(self) -> Key:
        if (self.digest is None) == (not self.digests):
            message = "exactly one of `digest` and `digests` is written"
            raise PydanticCustomError("one_of", message, {"fix": "write digest: sha256:SALT:HASH"})
        return self

    @model_validator(mode="after")
    def _own_budgets_count(self) -> Key:
        own = {"tenant": self.tenant, "team": self.team, "user": self.user}
        own |= {f"tag:{name}": value for name, value in self.tags.items()}
        for name, budget in self.budgets.items():
            if budget.match.get("key", "*") != "*":
                message = "the budget `{name}` counts this key, and no other one"
                raise PydanticCustomError("contradiction", message, {"name": name, "fix": "remove `match.key`"})
            for label, wanted in budget.match.items():
                has = own.get(label)
                if has is not None and wanted != has and not (wanted.endswith("*") and has.startswith(wanted[:-1])):
                    message = "the budget `{name}` would never count: its {label} is not that of the key"
                    context = {"name": name, "label": label, "fix": f"remove `match.{label}`"}
                    raise PydanticCustomError("contradiction", message, context)
        return self
