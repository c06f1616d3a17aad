"""What an Envoy that died leaves behind in limits on requests in parallel: given back as soon as another one is there.

No line of the log will ever tell that these requests have ended. What they had set aside of money and tokens stays, because
their providers may bill them.

Rules of this file
- A life is over when Envoy's health checks tell of another one, and of none but that, for a while after the life was known.
- A log that lags, a worker or an observer that starts anew, are no end of a life: nothing is concluded from them.
- Giving back twice does no harm, so nothing is remembered that an observer's death could lose.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from router_extproc.limits.without_store import LOCAL
from router_extproc.observer.telling import SharedStore
from router_extproc.store import lives
from router_extproc.store.counters import Release
from router_extproc.store.ledger import Ledger
from router_extproc.store.lives import Lives

# Envoy checks twice a second. What comes closer together was held up on its way and shows nothing; after a longer silence all
# begins anew.
_CHECKS, _CLOSE_SECONDS, _SILENCE_SECONDS = 3, 0.3, 1.5
# A worker may be that far behind, and set something aside for a request of an Envoy that is dead already.
_BEHIND_SECONDS = 15.0
_LOOK_AGAIN_SECONDS = 2.0
_ENDS_WITH_ENVOY = ("parallel:", lives.PREFIX)

_log = logging.getLogger(__name__)


class HeardEnvoy:
    """Which life of Envoy is heard: that of the last check."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """None yet. ``clock`` counts seconds."""
        self._clock = clock
        self._checks: deque[float] = deque(maxlen=_CHECKS)
        self.name = ""

    def hear(self, name: str) -> None:
        """A check of the Envoy whose life is called so has come."""
        now, checks = self._clock(), self._checks
        if name != self.name or (checks and now - checks[-1] > _SILENCE_SECONDS):
            self.name = name
            checks.clear()
        if not checks or now - checks[-1] >= _CLOSE_SECONDS:
            checks.append(now)

    def is_alone_since(self, moment: float) -> bool:
        """Whether no other was heard for some checks, the first of them not before the ``moment``."""
        return len(self._checks) == _CHECKS and self._checks[0] >= moment


@dataclass
class _Life:
    """One that has a file: since when that is known, when it was found to be over, when to look again, and who was found."""

    known_at: float
    over_at: float | None = None
    due: float = 0.0
    freed: set[str] = field(default_factory=set)


class Orphans:
    """Finds what is left of lives that are over, in the ledger and in the store that instances share, if there is one."""

    def __init__(
        self,
        known: Lives,
        envoy: HeardEnvoy,
        books: Ledger,
        store: SharedStore | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``clock`` counts seconds, and is that of ``envoy``."""
        self._folder, self._envoy, self._books, self._store, self._clock = known, envoy, books, store, clock
        self._lives: dict[str, _Life] = {}

    async def step(self) -> None:
        """Looks for lives that have begun, and gives back what is left of those that are over.

        Raises:
            StoreUnavailableError: ledger or store did not answer; the next step tries again.
            OSError: the files of lives cannot be read or removed.
        """
        now = self._clock()
        for mark, file in self._folder.files().items():
            life = self._lives.setdefault(mark, _Life(now))
            if now < life.due or lives.is_of(file, self._envoy.name) or not self._envoy.is_alone_since(life.known_at):
                continue
            await self._give_back(mark, life.freed)
            life.due = now + _LOOK_AGAIN_SECONDS
            life.over_at = now if life.over_at is None else life.over_at
            if now - life.over_at >= _BEHIND_SECONDS:
                file.unlink(missing_ok=True)
                del self._lives[mark]

    async def _give_back(self, mark: str, freed: set[str]) -> None:
        found = [*self._books.under_way(mark), *(await self._store.under_way(mark) if self._store is not None else ())]
        fresh = {one.reservation for one in found} - freed
        ends = (Release(one.reservation, tuple(filter(_ends_with_envoy, one.counters))) for one in found)
        releases = [one for one in ends if one.counters]
        if releases:
            self._books.record([], releases)
        if fresh:
            _log.warning("Envoy died with requests under way: their places are free again", extra={"requests": len(fresh)})
            freed |= fresh


def _ends_with_envoy(counter: str) -> bool:
    return counter.removeprefix(LOCAL).startswith(_ENDS_WITH_ENVOY)
