"""How full counters are, for those who ask the admin API: they have more patience than requests."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from router_extproc.observer.desk import Desk
from router_extproc.store.counters import Level, Query, StoreUnavailableError

_READ_AT_ONCE = 50
_MOST_TRIES = 10
_PAUSE_SECONDS = 0.1


async def read_levels(desk: Desk, queries: Sequence[Query]) -> list[Level]:
    """The levels of all, in this order. The store's deadline is made for requests: here it is asked again.

    Raises:
        StoreUnavailableError: it cannot be opened, or did not answer for a second.
    """
    store = desk.store()
    if store is None:
        raise StoreUnavailableError("the counters cannot be opened; the observer's log says why")
    now = desk.clock()
    levels: list[Level] = []
    tries = 0
    while len(levels) < len(queries):
        try:
            levels += await store.read(queries[len(levels) : len(levels) + _READ_AT_ONCE], now)
        except StoreUnavailableError:
            tries += 1
            if tries >= _MOST_TRIES:
                raise
            await asyncio.sleep(_PAUSE_SECONDS)
    return levels
