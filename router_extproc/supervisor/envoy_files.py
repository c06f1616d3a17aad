"""The files that Envoy reads, and what of the last configuration has to stay among them for a while."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from router_extproc.config.state import StateDirectory
from router_extproc.envoyconf.render import RenderedFiles
from router_extproc.supervisor.files import replace_file

# Each file whose version Envoy reports, and the statistic that does so.
_VERSIONS = {
    "cds.json": "cluster_manager.cds.version_text",
    "rds.json": "http.clients.rds.routes.version_text",
    "lds.json": "listener_manager.lds.version_text",
}
_CLUSTERS = "cds.json"
_SECRETS = "secrets/"
_SECRET_MODE = 0o600

_log = logging.getLogger(__name__)


class EnvoyFiles:
    """Writes rendered files into ``state``. A cluster that is gone lingers: requests decided before may still come."""

    def __init__(self, state: StateDirectory) -> None:
        self._directory = state.envoy
        self._files: RenderedFiles = {}
        self._lingering: dict[str, tuple[float, dict[str, Any]]] = {}
        self._versions: dict[str, str] = {}

    @property
    def versions(self) -> Mapping[str, str]:
        """What Envoy reports, by the statistic's name, once it runs what was written last."""
        return self._versions

    def write(self, files: RenderedFiles, linger_until: float) -> None:
        """Puts ``files`` in place of the last ones; clusters that are not among them stay until ``linger_until``."""
        before, now = _clusters(self._files), _clusters(files)
        self._lingering |= {name: (linger_until, cluster) for name, cluster in before.items()}
        self._lingering = {name: entry for name, entry in self._lingering.items() if name not in now}
        self._files = files
        self._write()

    def sweep(self, now: float) -> None:
        """Takes away the clusters whose time is over, and the keys that nothing names any more."""
        staying = {name: entry for name, entry in self._lingering.items() if entry[0] > now}
        if len(staying) < len(self._lingering):
            self._lingering = staying
            self._write()
        if not staying:
            self._remove_old_secrets()

    def _write(self) -> None:
        """In the renderer's order: what is named stands before what names it."""
        for name, content in self._files.items():
            body = self._with_lingering(content) if name == _CLUSTERS else content
            replace_file(self._directory / name, body, _SECRET_MODE if name.startswith(_SECRETS) else 0o644)
            if name in _VERSIONS:
                self._versions[_VERSIONS[name]] = json.loads(body)["version_info"]

    def _with_lingering(self, content: bytes) -> bytes:
        if not self._lingering:
            return content
        document = json.loads(content)
        document["version_info"] += "".join(f"+{name}" for name in sorted(self._lingering))
        document["resources"] += [cluster for _, cluster in self._lingering.values()]
        return json.dumps(document, indent=1).encode()

    def _remove_old_secrets(self) -> None:
        for path in (self._directory / _SECRETS).glob("*"):
            if f"{_SECRETS}{path.name}" not in self._files:
                path.unlink()
                _log.info("key removed from disk, nothing uses it any more", extra={"file": path.name})


def _clusters(files: RenderedFiles) -> dict[str, dict[str, Any]]:
    if _CLUSTERS not in files:
        return {}
    return {cluster["name"]: cluster for cluster in json.loads(files[_CLUSTERS])["resources"]}
