"""Everything that money needs of the observer, put together: log, ledger, store, alerts, by the configuration in force.

Rules of this file
- A store that cannot be had, read or written stops nothing else of the observer: it is told, counted, and tried again.
- The ledger is written on the event loop: workers wait while somebody writes it, and a thread beside a busy loop takes longer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from router_extproc.account import Held
from router_extproc.config.state import StateDirectory
from router_extproc.errors import RouterError
from router_extproc.limits.bound import rates_of
from router_extproc.observer import spending_metrics
from router_extproc.observer.access_log_rotation import Rotation
from router_extproc.observer.alerts import Counters, Watch
from router_extproc.observer.deliveries import Deliveries, is_configured
from router_extproc.observer.orphans import HeardEnvoy, Orphans
from router_extproc.observer.own_counters import OwnCounters
from router_extproc.observer.settlement import Place
from router_extproc.observer.settling import Settling, Stretch
from router_extproc.observer.spending_metrics import SpendingMetrics
from router_extproc.observer.telling import SharedStore, Telling
from router_extproc.registry.snapshot import Registry
from router_extproc.registry.spending import Spending, StoreSettings
from router_extproc.store.alerts import AlertOutbox
from router_extproc.store.counters import CounterStore, StoreUnavailableError
from router_extproc.store.ledger import Ledger
from router_extproc.store.lives import Lives
from router_extproc.store.open import open_counters

# What is settled is kept so long, in seconds: a year and a month, so that a calendar year can be added up.
KEPT_SECONDS = 400 * 86_400.0
_STEPS_AT_ONCE = 50

_log = logging.getLogger(__name__)


@dataclass
class _Books:
    """What is open for one store."""

    settings: StoreSettings
    ledger: Ledger
    settling: Settling
    outbox: AlertOutbox
    store: CounterStore
    watched: Counters
    telling: Telling | None
    orphans: Orphans
    watch: Watch
    deliveries: Deliveries
    has_resumed: bool = False


class Bookkeeping:
    """Settles, tells and alerts. Every method is called on the event loop; two steps of one kind never overlap."""

    def __init__(
        self,
        state: StateDirectory,
        meters: SpendingMetrics,
        clock: Callable[[], float],
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """Opens nothing yet: that needs the configuration."""
        self._state, self._meters, self._clock, self._environ = state, meters, clock, environ
        self.envoy = HeardEnvoy()
        self._rotation = Rotation(state.access_log, state.instance)
        self._spending: Spending | None = None
        self._places: Mapping[str, Place] = {}
        self._books: _Books | None = None
        self._held: dict[str, Held] = {}
        self._behind_since: float | None = None
        self._complaint = ""
        # Set whenever there may be something to tell, for whoever clears it and calls ``tell``.
        self.news = asyncio.Event()
        meters.behind(self._behind_bytes)

    def know(self, registry: Registry) -> None:
        """Takes another configuration over; another store is opened by the next step."""
        self._spending = registry.spending
        self._places = {
            each.name: Place(each.model, each.provider, rates_of(model))
            for model in registry.models.values()
            for each in model.deployments
        }
        self._meters.know(budget.name for budget in registry.spending.budgets)

    @property
    def settings(self) -> StoreSettings | None:
        """Which store the configuration names, None while there is none."""
        return None if self._spending is None else self._spending.store

    @property
    def is_limiting(self) -> bool:
        """Whether a request may hold something of a limit, so that others may wait for what it gives back."""
        spending = self._spending
        if spending is None or spending.budgets or spending.loop_guard.mode != "off":
            return True
        if spending.auth.mode is None:
            # From the first key on everybody shows one, and a key may have budgets of its own.
            return bool(spending.keys) or self._state.keys_exist.exists()
        return spending.auth.mode != "none"

    @property
    def store(self) -> CounterStore | None:
        """The counters, None while there is no configuration or they cannot be opened."""
        return None if self._books is None else self._books.store

    @property
    def outbox(self) -> AlertOutbox | None:
        """The alerts, as above."""
        return None if self._books is None else self._books.outbox

    async def open(self) -> None:
        """Opens the books already, so that who asks first need not wait; no error when they cannot be."""
        await self._open()

    async def settle(self, patience_seconds: float = 0.0) -> None:
        """Settles what the log says by now; what holds nothing of any limit may wait for ``patience_seconds``."""
        books = await self._open()
        if books is None or books.settling.may_wait(self._clock(), patience_seconds):
            return
        with self._complaining(spending_metrics.LEDGER):
            for _ in range(_STEPS_AT_ONCE):
                stretch = books.settling.step(self._places, self._clock())
                self._count(stretch)
                if not stretch.more:
                    break
                await asyncio.sleep(0)

    async def tell(self) -> None:
        """Tells the store what was settled, and alerts about it."""
        books = self._books
        if books is None:
            return
        try:
            while books.telling is not None and await books.telling.step(self._clock()):
                pass
            await self._alert(books)
        except StoreUnavailableError as error:
            self._is_behind(str(error))
            return
        self._is_told()

    async def free(self) -> None:
        """Gives back the places of requests that ended with their Envoy."""
        if self._books is not None:
            with self._complaining(None):
                await self._books.orphans.step()

    async def rotate(self, max_bytes: int) -> None:
        """Begins another access log file when this one is larger, unless an older one waits to be settled."""
        if self._books is not None:
            with self._complaining(None):
                await self._rotation.step(max_bytes, is_read=self._books.settling.is_at_newest())

    async def deliver(self) -> None:
        """Calls the webhook with what is due."""
        if self._books is not None and self._spending is not None:
            with self._complaining(None):
                await self._books.deliveries.step(self._spending.alerts)

    async def tidy(self) -> None:
        """Forgets what is too old to be of interest."""
        books, now = self._books, self._clock()
        if books is None:
            return
        with self._complaining(None):
            books.outbox.forget(now - KEPT_SECONDS)
            for _ in range(_STEPS_AT_ONCE):
                if not books.ledger.forget(now - KEPT_SECONDS, now):
                    break
                await asyncio.sleep(0)

    async def aclose(self) -> None:
        """Settles and tells what there is, and closes everything."""
        await self.settle()
        await self.tell()
        await self._close()

    async def _open(self) -> _Books | None:
        """The books for the store in force; None when there is none."""
        if self._spending is None or (self._books is not None and self._books.settings == self._spending.store):
            return self._books
        await self._close()
        try:
            self._books = self._make(self._spending.store)
        except (RouterError, sqlite3.Error, OSError) as error:
            self._complain(spending_metrics.LEDGER, str(error))
        return self._books

    def _make(self, settings: StoreSettings) -> _Books:
        is_shared = settings.kind != "sqlite"
        with contextlib.ExitStack() as undo:
            ledger = Ledger(self._state.ledger, tells=is_shared)
            undo.callback(ledger.close)
            outbox = AlertOutbox(self._state.alerts)
            undo.callback(outbox.close)
            settling = Settling(self._state.access_log, ledger)
            undo.callback(settling.close)
            store = open_counters(settings, self._state.ledger, self._environ, instance=ledger.instance)
            undo.pop_all()
        shared = cast("SharedStore", store) if is_shared else None
        return _Books(
            settings=settings,
            ledger=ledger,
            settling=settling,
            outbox=outbox,
            store=store,
            watched=store if shared is not None else OwnCounters(ledger, store),
            telling=None if shared is None else Telling(ledger, shared),
            orphans=Orphans(Lives(self._state.lives), self.envoy, ledger, shared),
            watch=Watch(outbox, self._meters, is_alone=not is_shared),
            deliveries=Deliveries(outbox, self._meters, self._clock, self._environ),
        )

    async def _close(self) -> None:
        books, self._books = self._books, None
        if books is None:
            return
        await books.store.aclose()
        books.outbox.close()
        books.settling.close()
        books.ledger.close()

    async def _alert(self, books: _Books) -> None:
        if self._spending is None:
            return
        delivers, now = is_configured(self._spending.alerts), self._clock()
        if not books.has_resumed:
            await books.watch.resume(books.watched, now, delivers=delivers)
            books.has_resumed = True
        held, self._held = self._held, {}
        try:
            await books.watch.check(books.watched, held.values(), now, delivers=delivers)
        except StoreUnavailableError:
            self._held = {**held, **self._held}
            raise

    def _count(self, stretch: Stretch) -> None:
        self._complaint = ""
        self.news.set()
        self._held.update((name, one) for name, one in stretch.held.items() if one.limit and one.warn_at)
        self._meters.settled(stretch.rows)
        self._meters.failed(spending_metrics.UNREADABLE_LINE, stretch.unreadable)
        self._meters.failed(spending_metrics.UNSETTLED_REQUEST, stretch.unsettled)

    def _behind_bytes(self) -> int:
        with contextlib.suppress(OSError):
            return 0 if self._books is None else self._books.settling.behind_bytes()
        return 0

    def _is_behind(self, reason: str) -> None:
        now = self._clock()
        if self._behind_since is None:
            self._behind_since = now
            _log.error("store does not take over what was settled", extra={"reason": reason})
        self._meters.store(is_up=False, behind_seconds=max(0.0, now - self._behind_since))

    def _is_told(self) -> None:
        if self._behind_since is not None:
            _log.warning("store has taken over everything that was settled")
            self._behind_since = None
        self._meters.store(is_up=True, behind_seconds=0.0)

    @contextlib.contextmanager
    def _complaining(self, reason: str | None) -> Iterator[None]:
        try:
            yield
        except (StoreUnavailableError, sqlite3.Error) as error:
            self._complain(reason, str(error))
        except OSError as error:
            self._complain(reason and spending_metrics.LOG, error.strerror or str(error))

    def _complain(self, reason: str | None, text: str) -> None:
        """Counts each time, and says the same once."""
        if reason is not None:
            self._meters.failed(reason)
        if text != self._complaint:
            _log.error("settling does not get on", extra={"reason": text})
            self._complaint = text
