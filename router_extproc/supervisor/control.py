"""The control side: router.yaml becomes what Envoy and the workers read, and does so again whenever it changes.

Rules of this file
- Nothing is applied unless all of it is good: a bad file is refused with its reasons and the last good one stays.
- New clusters reach Envoy before any worker may choose them; a cluster that is no longer chosen stays until the requests
  that were decided before have ended. So no reload drops a request.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from router_extproc.config.schema import RouterConfig
from router_extproc.config.state import StateDirectory
from router_extproc.envoyconf.render import RenderedFiles, render
from router_extproc.envoyconf.secrets import deployments_without_key
from router_extproc.errors import ConfigurationError, StartError
from router_extproc.registry.catalogue import load_catalogue
from router_extproc.registry.compile import compile_registry
from router_extproc.registry.snapshot import Registry, encode_registry
from router_extproc.supervisor.envoy import EnvoyAdmin
from router_extproc.supervisor.files import replace_file

CLUSTERS_FILE = "cds.json"
_SECRET_MODE = 0o600
_ENVOY_WAIT_SECONDS = 3.0
_ENVOY_POLL_SECONDS = 0.02

_log = logging.getLogger(__name__)


class ReloadReport(msgspec.Struct):
    """What became of the last change, for the observer's metrics and ``/readyz``."""

    revision: str = ""
    at: float = 0.0
    ok: bool = True
    problems: list[str] = []
    accepted: int = 0
    refused: int = 0


@dataclass(frozen=True)
class Applied:
    """One configuration that is in force."""

    config: RouterConfig
    registry: Registry
    clusters: dict[str, object]


class ControlPlane:
    """Applies configurations to one state directory. ``load`` returns the configuration as it is written now."""

    def __init__(
        self, load: Callable[[], RouterConfig], state: StateDirectory, environment: Mapping[str, str], *, drain_seconds: float
    ) -> None:
        self._load, self._state, self._environment = load, state, environment
        self._drain_seconds = drain_seconds
        self._report = ReloadReport()
        self._lingering: dict[str, tuple[float, object]] = {}
        self.applied: Applied | None = None

    def start(self) -> Applied:
        """Writes everything before the first process runs.

        Raises:
            ConfigurationError: the configuration cannot be used.
        """
        applied, files = self._render()
        self._write_files(files, {})
        self._publish(applied)
        return applied

    async def reload(self, admin: EnvoyAdmin | None) -> bool:
        """Applies what is written now; False when it was refused. ``admin`` is Envoy's, where it can be reached."""
        try:
            applied, files = self._render()
        except (ConfigurationError, StartError) as error:
            self._refuse(error)
            return False
        last = self.applied
        gone = {} if last is None else {name: body for name, body in last.clusters.items() if name not in applied.clusters}
        until = time.monotonic() + self._drain_seconds
        self._lingering |= {name: (until, body) for name, body in gone.items()}
        for name in applied.clusters:
            self._lingering.pop(name, None)
        if self._write_files(files, self._lingering_clusters()):
            await self._wait_for_envoy(admin, set(applied.clusters))
        self._publish(applied)
        _log.info("configuration applied", extra={"revision": applied.registry.revision})
        return True

    async def sweep(self) -> None:
        """Takes away the clusters whose last requests must have ended by now."""
        now = time.monotonic()
        ended = [name for name, (until, _) in self._lingering.items() if until <= now]
        if ended and self.applied is not None:
            for name in ended:
                del self._lingering[name]
            _, files = self._render()
            self._write_files(files, self._lingering_clusters())

    def _render(self) -> tuple[Applied, RenderedFiles]:
        config = self._load()
        keyless = deployments_without_key(config, self._environment)
        if keyless:
            _log.warning("deployments without a key are left out until they have one", extra={"deployments": sorted(keyless)})
        registry = compile_registry(config, load_catalogue(), keyless)
        files = render(config, registry, self._state, config.workers.count, self._environment)
        clusters = {cluster["name"]: cluster for cluster in json.loads(files[CLUSTERS_FILE])["resources"]}
        return Applied(config, registry, clusters), files

    def _write_files(self, files: RenderedFiles, lingering: Mapping[str, object]) -> bool:
        """True when Envoy's clusters changed. The renderer's order is kept: what is named stands before what names it."""
        changed = False
        for name, content in files.items():
            body = content
            if name == CLUSTERS_FILE and lingering:
                document = json.loads(content)
                document["version_info"] += f"+{'+'.join(sorted(lingering))}"
                document["resources"] += list(lingering.values())
                body = json.dumps(document, indent=1).encode()
            wrote = replace_file(self._state.envoy / name, body, _SECRET_MODE if name.startswith("secrets/") else 0o644)
            changed |= wrote and name == CLUSTERS_FILE
        return changed

    def _lingering_clusters(self) -> dict[str, object]:
        return {name: body for name, (_, body) in self._lingering.items()}

    async def _wait_for_envoy(self, admin: EnvoyAdmin | None, clusters: set[str]) -> None:
        """Waits until Envoy knows every cluster. Where its admin cannot be asked, the usual second is waited out."""
        if admin is None:
            await asyncio.sleep(1)
            return
        deadline = time.monotonic() + _ENVOY_WAIT_SECONDS
        while time.monotonic() < deadline:
            try:
                if clusters <= await admin.clusters():
                    return
            except (OSError, asyncio.IncompleteReadError):
                _log.debug("Envoy's admin interface does not answer yet")
            await asyncio.sleep(_ENVOY_POLL_SECONDS)
        _log.error("Envoy did not take over the new clusters in time", extra={"clusters": sorted(clusters)})

    def _publish(self, applied: Applied) -> None:
        replace_file(self._state.snapshot, encode_registry(applied.registry))
        self.applied = applied
        report = self._report
        report.revision, report.at, report.ok, report.problems = applied.registry.revision, time.time(), True, []
        report.accepted += 1
        self._write_report()

    def _refuse(self, error: ConfigurationError | StartError) -> None:
        report = self._report
        report.at, report.ok, report.problems = time.time(), False, str(error).splitlines()
        report.refused += 1
        self._write_report()
        _log.error("configuration refused, the last good one stays", extra={"problems": report.problems})

    def _write_report(self) -> None:
        replace_file(self._state.root / "reload.json", msgspec.json.encode(self._report))


class Watcher:
    """Notices that one of some files has other content, also behind swapped symlinks as Kubernetes makes them."""

    def __init__(self, paths: Callable[[], tuple[Path, ...]]) -> None:
        self._paths = paths
        self._seen = self._contents()

    def folders(self) -> tuple[Path, ...]:
        """Where changes show."""
        return tuple({path.absolute().parent for path in self._paths() if path.absolute().parent.is_dir()})

    def changed(self) -> bool:
        """True once for every change of content."""
        contents = self._contents()
        if contents == self._seen:
            return False
        self._seen = contents
        return True

    def _contents(self) -> dict[Path, bytes | None]:
        return {path: _content(path) for path in self._paths()}


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
