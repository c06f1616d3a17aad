"""How an instance is run: what the command line decides, not router.yaml."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from router_extproc.config.schema import RouterConfig
from router_extproc.config.state import StateDirectory


@dataclass(frozen=True)
class Options:
    """``load`` reads the configuration, ``file`` is where it is written, if anywhere; ``companions`` are demo providers."""

    load: Callable[[], RouterConfig]
    state: StateDirectory
    file: Path | None = None
    with_envoy: bool = True
    companions: Mapping[str, list[str]] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
