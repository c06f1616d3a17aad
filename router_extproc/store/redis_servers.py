"""Which Redis server has a counter: the only one, whichever the sentinels name, or one of a cluster.

Keys lie together by a tag (Redis: hash tag). One server needs one tag, so that a request is one script; a cluster has many,
so that its servers share the load, few enough to ask about each.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Any, Protocol

from redis.crc import key_slot
from redis.exceptions import AskError, MovedError

from router_extproc.registry.spending import StoreSettings
from router_extproc.store.counters import StoreUnavailableError
from router_extproc.store.lives import PLACES, place_of
from router_extproc.store.redis_connections import SOCKET_SECONDS, Address, Connections
from router_extproc.store.redis_lane import FAILURES, Lane, Late
from router_extproc.store.redis_scripts import Command

_CLUSTER_TAGS = tuple(f"r{number}" for number in range(PLACES))
_MOST_MOVES = 3

_log = logging.getLogger(__name__)


class Servers(Protocol):
    """The servers of one store. ``tags`` are all places where counters may lie."""

    tags: tuple[str, ...]

    async def run(self, tag: str, command: Command, late: Late | None = None, deadline: float | None = None) -> Any:
        """The answer of the server that has ``tag``; errors as ``Lane.call`` raises them, but for those of a cluster."""

    async def aclose(self) -> None:
        """Closes all connections."""


def connect(settings: StoreSettings, connections: Connections) -> Servers:
    """The servers that the settings name; nothing is sent yet."""
    deadline = settings.deadline_ms / 1_000
    if settings.kind == "redis_cluster":
        return ClusterServers(connections, deadline)
    if settings.kind == "redis_sentinel":
        return OneServer(Lane(settings.sentinel_service, connections.link_by_sentinels(), deadline))
    address = connections.addresses[0]
    return OneServer(Lane(str(address), connections.link(address), deadline))


def tag_of(name: str, tags: tuple[str, ...]) -> str:
    """Where what is called ``name`` lies."""
    return tags[0] if len(tags) == 1 else tags[place_of(name) % len(tags)]


def cluster_places() -> dict[str, int]:
    """The slot of every tag in a cluster."""
    return {tag: key_slot(tag.encode()) for tag in _CLUSTER_TAGS}


def owners_of(slots: Any, places: Mapping[str, int], asked: Address) -> dict[str, Address]:
    """The master of each tag, by what the server ``asked`` answered to CLUSTER SLOTS: [first slot, last slot, [master's host,
    port, ...], [a replica's, ...], ...] for each stretch.
    """
    owners: dict[str, Address] = {}
    for first, last, (host, port, *_), *_ in slots:
        for tag, slot in places.items():
            if first <= slot <= last:
                # A node that does not know by which name it is reached leaves it out.
                owners[tag] = Address(host.decode() if host else asked.host, int(port))
    return owners


class OneServer:
    """One server has everything, be it one that sentinels may replace."""

    tags: tuple[str, ...] = ("r0",)

    def __init__(self, lane: Lane) -> None:
        self._lane = lane

    async def run(self, tag: str, command: Command, late: Late | None = None, deadline: float | None = None) -> Any:
        """The server's answer."""
        del tag
        try:
            return await self._lane.call(command, late, deadline)
        except (MovedError, AskError) as error:
            # A node of a cluster that was written down as the only server had the counters, and gave them away.
            reason = "the store is a node of a cluster, and another has the counters: see store.redis.cluster"
            raise StoreUnavailableError(reason) from error

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._lane.aclose()


class ClusterServers:
    """Redis Cluster: each master has some of the tags, and another may take them over at any time."""

    tags: tuple[str, ...] = _CLUSTER_TAGS

    def __init__(self, connections: Connections, deadline: float) -> None:
        self._connections = connections
        self._deadline = deadline
        self._slots = cluster_places()
        self._owners: dict[str, Address] = {}
        self._lanes: dict[Address, Lane] = {}
        self._refreshing: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def run(self, tag: str, command: Command, late: Late | None = None, deadline: float | None = None) -> Any:
        """The answer of the master that has the tag, wherever it moved."""
        if not self._owners:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(deadline or self._deadline):
                    await asyncio.shield(self._refresh_once())
        for _ in range(_MOST_MOVES):
            owner = self._owners.get(tag)
            if owner is None:
                self._refresh_once()
                raise StoreUnavailableError("the store's cluster has no master for some counters, or cannot be reached")
            try:
                return await self._lane(owner).call(command, late, deadline)
            except MovedError as moved:
                self._owners[tag] = Address(moved.host or owner.host, moved.port)
                self._refresh_once()
            except AskError as asked:
                raise StoreUnavailableError("the store's cluster is moving some counters") from asked
        raise StoreUnavailableError("the store's servers disagree about which of them has some counters")

    async def aclose(self) -> None:
        """Closes all connections."""
        self._is_closed = True
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.gather(self._refreshing, return_exceptions=True)
        lanes, self._lanes = list(self._lanes.values()), {}
        await asyncio.gather(*(lane.aclose() for lane in lanes), *self._closing)

    def _lane(self, address: Address) -> Lane:
        lane = self._lanes.get(address)
        if lane is None:

            async def is_wanted() -> bool:
                await asyncio.shield(self._refresh_once())
                return self._lanes.get(address) is lane

            lane = Lane(str(address), self._connections.link(address), self._deadline, is_wanted)
            self._lanes[address] = lane
        return lane

    def _refresh_once(self) -> asyncio.Task[None]:
        """Asks who has what, unless that is being asked already."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.get_running_loop().create_task(self._refresh())
        return self._refreshing

    async def _refresh(self) -> None:
        known = sorted(self._lanes, key=lambda address: self._lanes[address].is_broken)
        for address in dict.fromkeys((*known, *self._connections.addresses)):
            if self._is_closed:
                return
            client = self._connections.client(address)
            try:
                async with asyncio.timeout(SOCKET_SECONDS):
                    self._take_over(address, await client.execute_command("CLUSTER SLOTS"))
            except FAILURES as error:
                _log.debug("store cannot say who has what", extra={"store": str(address), "reason": type(error).__name__})
            else:
                return
            finally:
                await client.aclose()

    def _take_over(self, asked: Address, slots: Any) -> None:
        """``slots`` is the answer to CLUSTER SLOTS."""
        owners = owners_of(slots, self._slots, asked)
        self._owners = owners
        current = set(owners.values())
        for address in [address for address in self._lanes if address not in current]:
            task = asyncio.get_running_loop().create_task(self._lanes.pop(address).aclose())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
