"""Where the classifier's files are looked for."""

from __future__ import annotations

from pathlib import Path

import router_extproc.analysis
from router_extproc.analysis.location import artefact_folder


def test_the_shipped_artefact_is_the_default() -> None:
    """Without a word in the environment it is the folder in the package."""
    shipped = Path(router_extproc.analysis.__file__).parent / "artefact"
    assert artefact_folder({}) == artefact_folder({"ROUTER_EXTPROC_ARTEFACT": ""}) == shipped


def test_the_environment_may_name_another() -> None:
    """A refitted artefact lies where its owner put it."""
    assert artefact_folder({"ROUTER_EXTPROC_ARTEFACT": "/opt/ours"}) == Path("/opt/ours")
