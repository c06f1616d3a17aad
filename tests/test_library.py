"""The package as a library: what programs import, and what that costs those who need something else of it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import router_extproc
from router_extproc import Situation


def test_the_library_is_four_names() -> None:
    """What programs import stands at the top of the package, and nothing else does."""
    assert set(router_extproc.__all__) == {"Decision", "Request", "Router", "Situation"} == set(dir(router_extproc))
    assert {getattr(router_extproc, name).__name__ for name in router_extproc.__all__} == set(router_extproc.__all__)
    assert Situation.unknown() == Situation()
    with pytest.raises(AttributeError, match="'router_extproc' has no attribute 'Rooter'"):
        _ = router_extproc.Rooter  # type: ignore[attr-defined] # which type checkers see as well


@pytest.mark.parametrize("module", ["cli", "cli.up", "supervisor.supervisor", "simulator.__main__"])
def test_what_only_starts_others_starts_without_the_analysis(module: str) -> None:
    """Commands, the supervisor and the simulator load neither the numerical libraries nor the classifier."""
    program = f"import json, sys, router_extproc.{module}; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    loaded = json.loads(run.stdout)
    assert f"router_extproc.{module}" in loaded
    assert {"numpy", "onnxruntime", "router_extproc.router", "router_extproc.analysis.analyser"} & {*loaded} == set()
