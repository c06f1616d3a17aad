"""Which processes an instance has, and what they are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from router_extproc.config.load import parse_config
from router_extproc.config.state import StateDirectory
from router_extproc.supervisor.options import Options
from router_extproc.supervisor.processes import Processes

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
