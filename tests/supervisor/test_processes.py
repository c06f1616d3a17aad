"""Which processes an instance has, and what they are told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from router_extproc.config.load import parse_config
from router_extproc.config.state import StateDirectory
from router_extproc.store.lives import VARIABLE
from router_extproc.supervisor.child import Child
from router_extproc.supervisor.options import Options
from router_extproc.supervisor.processes import Processes
from tests.supervisor.test_child import kept, until

CONFIGURATION = """
workers: {count: 3}
providers: {one: {base_url: "http://127.0.0.1:1/v1", models: [gpt-4o]}}
"""


def test_numerical_libraries_get_one_thread_in_each_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They read it when they are loaded; whatever else the environment says is passed on."""
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    monkeypatch.setenv("ROUTER_LOG_LEVEL", "debug")
    config = parse_config(CONFIGURATION)
    options = Options(load=lambda: config, state=StateDirectory(tmp_path), file=None, with_envoy=False, companions={})
    workers = [child for child in Processes(options, config).deciding if child.name.startswith("worker-")]
    assert [worker.name for worker in workers] == ["worker-0", "worker-1", "worker-2"]
    for worker in workers:
        assert worker._environment is not None
        told = {name: worker._environment.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ROUTER_LOG_LEVEL")}
        assert told == {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "ROUTER_LOG_LEVEL": "debug"}


async def test_each_life_of_envoy_has_a_name_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is started again has another name than the one before; what the environment says counts for nothing."""
    monkeypatch.setenv(VARIABLE, "everybody")
    config = parse_config(CONFIGURATION)
    options = Options(load=lambda: config, state=StateDirectory(tmp_path), file=None, with_envoy=True, companions={})
    planned = Processes(options, config).envoy
    assert planned is not None
    log = tmp_path / "log"
    told = [sys.executable, "-c", f"import os; print(os.environ[{VARIABLE!r}])"]
    async with kept(Child("envoy", told, output=log, life_variable=planned._life_variable)):
        await until(lambda: log.exists() and len(log.read_text().splitlines()) >= 3)
    names = log.read_text().splitlines()
    assert len(set(names)) == len(names)
    assert "everybody" not in names
