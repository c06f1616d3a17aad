"""Where the artefact lies: beside this file, or where the environment says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

# For a refitted artefact (`router-extproc train --from`), or one built for another domain.
ENVIRONMENT_VARIABLE = "ROUTER_EXTPROC_ARTEFACT"


def artefact_folder(environment: Mapping[str, str]) -> Path:
    """The folder of the classifier's files: the shipped one, or the value of ROUTER_EXTPROC_ARTEFACT."""
    return Path(environment.get(ENVIRONMENT_VARIABLE) or Path(__file__).parent / "artefact")
