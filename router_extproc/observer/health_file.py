"""``health.json``: what breakers say and models teach, for every decider to read, and for the next observer to go on from."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import msgspec

from router_extproc.registry.health import NO_RATIOS, DeploymentHealth, Health, encode_health, read_health

_log = logging.getLogger(__name__)


class HealthFile:
    """The file at ``path``; written by this process alone, always as a whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.tmp")
        self._written: tuple[dict[str, DeploymentHealth], Mapping[str, float]] | None = None

    def load(self) -> Health:
        """What the last process wrote; nothing when there is no file, or one that cannot be read (which is logged)."""
        try:
            return read_health(self._path)
        except FileNotFoundError:
            return Health()
        except (OSError, msgspec.DecodeError):
            _log.exception("health file cannot be read, starting without")
            return Health()

    def write(
        self, deployments: dict[str, DeploymentHealth], now: float, token_ratios: Mapping[str, float] = NO_RATIOS
    ) -> bool:
        """Replaces the file if anything changed since it was last written. True when it was.

        Raises:
            OSError: the directory cannot be written.
        """
        if (deployments, token_ratios) == self._written:
            return False
        health = Health(written_at=round(now, 3), deployments=deployments, token_ratios=dict(token_ratios))
        self._temporary.write_bytes(encode_health(health))
        self._temporary.replace(self._path)
        self._written = deployments, token_ratios
        return True
