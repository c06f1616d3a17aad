"""What a worker knows right now: the compiled configuration and the health of deployments, re-read when they change.

The control side and the observer replace whole files by rename, so one ``stat`` each tells whether there is news. A
request keeps the view it started with.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path

from router_extproc.analysis.classifier import NOTHING_LEARNED, Classifier
from router_extproc.config.watched_file import WatchedFile
from router_extproc.errors import StartError
from router_extproc.registry.health import Health, read_health
from router_extproc.registry.snapshot import Registry, read_registry
from router_extproc.router import Router

POLL_SECONDS = 0.1

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class View:
    """What one request sees from its first to its last message."""

    router: Router
    registry: Registry
    health: Health


class Live:
    """The newest view. ``refresh`` is called by a timer and costs two ``stat`` calls when nothing is new."""

    def __init__(self, snapshot: Path, health: Path, classifier: Classifier = NOTHING_LEARNED) -> None:
        """Reads the first view; the classifier is that of every view to come.

        Raises:
            StartError: there is no snapshot, or it is of another version.
        """
        self._snapshot, self._health = WatchedFile(snapshot, read_registry), WatchedFile(health, read_health)
        registry = self._snapshot.news()
        if registry is None:
            raise StartError(f"{snapshot} is missing or cannot be read; `router-extproc up` writes it")
        self._classifier = classifier
        self.view = View(self._router(registry), registry, Health())
        self.refresh()

    def refresh(self) -> None:
        """Takes over what changed on disk. A file that cannot be read is reported once and the last view stays."""
        registry = self._snapshot.news()
        if registry is not None:
            self.view = View(self._router(registry), registry, self.view.health)
            _log.info("snapshot applied", extra={"revision": registry.revision})
        health = self._health.news()
        if health is not None:
            self.view = View(self.view.router, self.view.registry, health)

    def _router(self, registry: Registry) -> Router:
        return Router(registry, self._classifier, time.perf_counter)


class Probes:
    """Claims half-open probes: of all workers exactly one gets each, because a file can be created only once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def claim(self, probe: str) -> bool:
        """True for the first caller of any process on this machine; a probe that cannot be claimed is left alone."""
        name = hashlib.sha256(probe.encode()).hexdigest()[:32]
        try:
            os.close(os.open(self._folder / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            return False
        except OSError:
            _log.exception("probes cannot be claimed")
            return False
        return True
