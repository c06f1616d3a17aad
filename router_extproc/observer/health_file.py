"""``health.json``: what the breakers say, for every decider to read, and for the next observer to go on from."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from router_extproc.registry.health import DeploymentHealth, Health, encode_health, read_health

_log = logging.getLogger(__name__)


class HealthFile:
    """The file at ``path``; written by this process alone, always as a whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.tmp")
        self._written: dict[str, DeploymentHealth] | None = None

    def load(self) -> dict[str, DeploymentHealth]:
        """What the last process wrote; nothing when there is no file, or one that cannot be read (which is logged)."""
        try:
            return read_health(self._path).deployments
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError):
            _log.exception("health file cannot be read, starting without")
            return {}

    def write(self, deployments: dict[str, DeploymentHealth], now: float) -> bool:
        """Replaces the file if anything changed since it was last written. True when it was.

        Raises:
            OSError: the directory cannot be written.
        """
        if deployments == self._written:
            return False
        self._temporary.write_bytes(encode_health(Health(written_at=round(now, 3), deployments=deployments)))
        self._temporary.replace(self._path)
        self._written = deployments
        return True
