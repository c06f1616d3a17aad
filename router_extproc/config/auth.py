"""The schema of ``auth``: how callers prove who they are."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from router_extproc.config.section import Section
from router_extproc.config.values import FilePath, LabelValue, ModelId, Name, OwnId, SpiffeId, WebAddress

_EXAMPLES = {"jwt": "issuer: …, jwks_file: …", "mesh": "certificate_authority: …, identities: …"}


class Claims(Section):
    """Which claims of a token say who calls. A dot leads into an object."""

    tenant: ModelId = Field("tenant", description="The claim with the tenant; a token without it is refused.")
    user: ModelId | None = Field("sub", description="The claim with the user.")
    team: ModelId | None = Field(None, description="The claim with the team.")
    tags: dict[OwnId, ModelId] = Field({}, description="Tags by name, each with the claim that holds its value.")


class Jwt(Section):
    """Whose tokens are accepted. Envoy verifies signature, issuer, audience and lifetime."""

    issuer: LabelValue = Field(description="What the claim `iss` must be.")
    audiences: tuple[LabelValue, ...] = Field((), description="What the claim `aud` must hold one of. Default: anything.")
    jwks_file: FilePath | None = Field(None, description="File with the issuer's public keys (JWKS), relative to this file.")
    jwks_uri: WebAddress | None = Field(None, description="Address of the issuer's public keys (JWKS).")
    claims: Claims = Field(Claims(), description="Which claims say who calls.")

    @model_validator(mode="after")
    def _one_source(self) -> Jwt:
        if (self.jwks_file is None) == (self.jwks_uri is None):
            message = "public keys are read from exactly one of `jwks_file` and `jwks_uri`"
            fix = "write jwks_file: issuer.jwks.json or jwks_uri: https://issuer.example/.well-known/jwks.json"
            raise PydanticCustomError("one_of", message, {"fix": fix})
        return self


class Mesh(Section):
    """Callers with a certificate of the mesh (SPIFFE X.509 SVID), by mutual TLS."""

    certificate_authority: FilePath = Field(description="PEM file with the authorities that issue callers' certificates.")
    identities: dict[SpiffeId, Name] = Field(
        min_length=1, description="Tenant by SPIFFE id; an id ending in `*` matches by prefix, the longest first."
    )


def _also_as_text(schema: JsonDict) -> None:
    """Says in the JSON Schema that the mode alone is enough."""
    mapping = dict(schema)
    schema.clear()
    words: JsonDict = {"enum": ["none", "keys", "jwt", "mesh"], "description": "The same as `mode`."}
    schema |= {"anyOf": [words, mapping]}


class Auth(Section):
    """How callers prove who they are. The mode alone may be written as text: ``auth: keys``."""

    model_config = ConfigDict(json_schema_extra=_also_as_text)

    mode: Literal["none", "keys", "jwt", "mesh"] | None = Field(
        None, description="Default: none on loopback until a key exists, then keys. Beyond loopback it must be written."
    )
    trusted: bool = Field(
        default=False, description="Believe what clients' headers say about themselves, because a gateway in front wrote them."
    )
    jwt: Jwt | None = Field(None, description="For mode jwt: whose tokens are accepted.")
    mesh: Mesh | None = Field(None, description="For mode mesh: whose certificates are accepted.")

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: object) -> object:
        return {"mode": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _mode_fits(self) -> Auth:
        for mode, section in (("jwt", self.jwt), ("mesh", self.mesh)):
            if self.mode == mode and section is None:
                raise _contradiction(f"mode {mode} needs the section `{mode}`", f"add {mode}: {{{_EXAMPLES[mode]}}}")
            if self.mode != mode and section is not None:
                message = f"`{mode}` is written, but the mode is {self.mode or 'not'}"
                raise _contradiction(message, f"write mode: {mode}, or remove `{mode}`")
        return self


def _contradiction(message: str, fix: str) -> PydanticCustomError:
    return PydanticCustomError("contradiction", "{message}", {"message": message, "fix": fix})
