"""What a worker knows right now: the compiled configuration and the health of deployments, re-read when they change.

The control side and the observer replace whole files by rename, so one ``stat`` each tells whether there is news. A
request keeps the view it started with.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path

from router_extproc.analysis.classifier import NOTHING_LEARNED, Classifier
from router_extproc.config.watched_file import WatchedFile
from router_extproc.errors import StartError
from router_extproc.registry.health import Health, claim_name, read_health
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
    """The newest view. Timers refresh it, at the cost of a ``stat`` call when nothing is new."""

    def __init__(self, snapshot: Path, health: Path, classifier: Classifier = NOTHING_LEARNED) -> None:
        """Reads the first view; the classifier is that of every view to come.

        Raises:
            StartError: there is no snapshot, or it is of another version.
        """
        self._snapshot, self._health = WatchedFile(snapshot, read_registry), WatchedFile(health, read_health)
        self._classifier = classifier
        registry = self._snapshot.news()
        if registry is None:
            raise StartError(f"{snapshot} is missing or cannot be read; `router-extproc up` writes it")
        router = self._make_router(registry)
        self.view = View(router, registry, self._health.news() or Health())

    def refresh_health(self) -> None:
        """Takes over the deployments' health if it changed. A file that cannot be read is reported once."""
        health = self._health.news()
        if health is not None:
            self.view = View(self.view.router, self.view.registry, health)

    async def refresh_configuration(self) -> None:
        """Takes over the configuration if it changed; while it cannot be read the last one stays in force.

        A router is made in a thread: thousands of examples to analyse by take a while, and requests go on.
        """
        registry = self._snapshot.news()
        if registry is not None:
            router = await asyncio.to_thread(self._make_router, registry)
            self.view = View(router, registry, self.view.health)
            _log.info("snapshot applied", extra={"revision": registry.revision})

    def _make_router(self, registry: Registry) -> Router:
        try:
            return Router(registry, self._classifier, time.perf_counter)
        except Exception:  # noqa: BLE001 - whatever is wrong with examples or their encoder, requests must be routed
            _log.exception("analysis cannot be set up: auto takes the strongest models", extra={"revision": registry.revision})
            return Router(registry)


class Probes:
    """Claims half-open probes: of all workers exactly one gets each, because a file can be created only once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def claim(self, probe: str) -> bool:
        """True for the first caller of any process on this machine; a probe that cannot be claimed is left alone."""
        try:
            os.close(os.open(self._folder / claim_name(probe), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            return False
        except OSError:
            _log.exception("probes cannot be claimed")
            return False
        return True
