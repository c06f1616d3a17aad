"""Where a secret is read from: a file or an environment variable, never this configuration itself."""

from __future__ import annotations

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from router_extproc.config.section import Section
from router_extproc.config.values import FilePath, VariableName


class Secret(Section):
    """A secret that lies elsewhere."""

    env: VariableName | None = Field(None, description="Name of the variable with the secret.")
    file: FilePath | None = Field(None, description="Path of the file with the secret, relative to this file.")

    @model_validator(mode="after")
    def _one_source(self) -> Secret:
        if (self.env is None) == (self.file is None):
            message = "a secret is read from exactly one of `env` and `file`"
            raise PydanticCustomError("one_of", message, {"fix": "write env: NAME_OF_A_VARIABLE or file: /path/to/secret"})
        return self
