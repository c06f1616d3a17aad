"""The counters that this worker uses: those that the configuration names, and this machine's own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

from router_extproc.registry.spending import StoreSettings
from router_extproc.store.counters import CounterStore
from router_extproc.store.open import open_counters

# Longer than any conversation with a store; who still holds the old one has its answer by then.
_FAREWELL_SECONDS = 5.0

_log = logging.getLogger(__name__)


class OpenStores:
    """``shared`` is where all instances count, ``local`` where this one counts alone; the same where there is one instance."""

    def __init__(self, settings: StoreSettings, ledger: Path, environment: Mapping[str, str]) -> None:
        """Opens nothing yet: a worker that limits nothing needs no store."""
        self._settings, self._ledger, self._environment = settings, ledger, environment
        self._shared: CounterStore | None = None
        self._local: CounterStore | None = None
        self._farewells: set[asyncio.Task[None]] = set()

    @property
    def shared(self) -> CounterStore:
        """The store that the configuration names.

        Raises:
            RouterError: it can never work like this; what is only away for now shows when it is used.
        """
        if self._shared is None:
            self._shared = open_counters(self._settings, self._ledger, self._environment)
        return self._shared

    @property
    def local(self) -> CounterStore:
        """The counters in this machine's own ledger.

        Raises:
            RouterError: the file can never be used.
        """
        if self._settings.kind == "sqlite":
            return self.shared
        if self._local is None:
            self._local = open_counters(StoreSettings(), self._ledger, self._environment)
        return self._local

    def follow(self, settings: StoreSettings) -> None:
        """Goes over to other settings when they changed; the old connections end when nobody waits for them any more."""
        if settings == self._settings:
            return
        farewell = asyncio.get_running_loop().create_task(_close(self._take_all(), _FAREWELL_SECONDS))
        self._farewells.add(farewell)
        farewell.add_done_callback(self._farewells.discard)
        self._settings = settings
        _log.info("counters are kept elsewhere from now on", extra={"store": settings.kind})

    async def aclose(self) -> None:
        """Ends connections and files."""
        for farewell in self._farewells:
            farewell.cancel()
        await _close(self._take_all())

    def _take_all(self) -> list[CounterStore]:
        left = [store for store in (self._shared, self._local) if store is not None]
        self._shared = self._local = None
        return left


async def _close(stores: list[CounterStore], delay: float = 0.0) -> None:
    await asyncio.sleep(delay)
    await asyncio.gather(*(store.aclose() for store in stores))
