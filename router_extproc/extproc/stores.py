"""The counters that this worker uses: those that the configuration names, and this machine's own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

from router_extproc.errors import RouterError
from router_extproc.registry.spending import StoreSettings
from router_extproc.store.counters import CounterStore, StoreUnavailableError
from router_extproc.store.open import open_counters

# Longer than any conversation with a store; who still holds the old one has its answer by then.
_FAREWELL_SECONDS = 5.0

_log = logging.getLogger(__name__)


@runtime_checkable
class Starting(Protocol):
    """A store that has something to do before it is first asked."""

    async def start(self) -> None:
        """Connects; no error when nobody is there."""


class OpenStores:
    """``shared`` is where all instances count, ``local`` where this one counts alone; the same where there is one instance."""

    def __init__(self, settings: StoreSettings, ledger: Path, environment: Mapping[str, str]) -> None:
        """Opens nothing yet: a worker that limits nothing needs no store."""
        self._settings, self._ledger, self._environment = settings, ledger, environment
        self._shared: CounterStore | None = None
        self._local: CounterStore | None = None
        self._complaint = ""
        self._farewells: set[asyncio.Task[None]] = set()

    async def prepare(self) -> None:
        """Opens and connects, so that no request has to wait for it. A store that is away now may come."""
        with contextlib.suppress(StoreUnavailableError):
            store = self.shared
            if isinstance(store, Starting):
                await store.start()

    @property
    def shared(self) -> CounterStore:
        """The store that the configuration names.

        Raises:
            StoreUnavailableError: it cannot be opened.
        """
        if self._shared is None:
            self._shared = self._open(self._settings)
        return self._shared

    @property
    def local(self) -> CounterStore:
        """The counters in this machine's own ledger.

        Raises:
            StoreUnavailableError: it cannot be opened.
        """
        if self._settings.kind == "sqlite":
            return self.shared
        if self._local is None:
            self._local = self._open(StoreSettings())
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

    def _open(self, settings: StoreSettings) -> CounterStore:
        try:
            store = open_counters(settings, self._ledger, self._environment)
        except (RouterError, OSError, sqlite3.Error) as error:
            # Each request would say so again; the budgets' own policies go on meanwhile.
            if str(error) != self._complaint:
                _log.error("the store of counters cannot be opened", extra={"error": str(error), "store": settings.kind})
                self._complaint = str(error)
            raise StoreUnavailableError(str(error)) from error
        self._complaint = ""
        return store

    def _take_all(self) -> list[CounterStore]:
        left = [store for store in (self._shared, self._local) if store is not None]
        self._shared = self._local = None
        return left


async def _close(stores: list[CounterStore], delay: float = 0.0) -> None:
    await asyncio.sleep(delay)
    await asyncio.gather(*(store.aclose() for store in stores))
