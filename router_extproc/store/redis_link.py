"""Connections to one Redis server that are kept, and known by the process that answers them.

A server process keeps its connections for life: who knows the process at the other end when the connection is made knows it
for every command. Scripts are told, and answer only where that very process was told all totals.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from hiredis import pack_command
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.sentinel import Sentinel
from redis.exceptions import ReadOnlyError, RedisError, ResponseError

from router_extproc.store.redis_processes import Processes
from router_extproc.store.redis_scripts import Argument, Command

# A server that does not answer is given up after this; the deadline of a request is far shorter.
SOCKET_SECONDS = 1.0
# A connection that lay idle for longer is looked at before it is used: the server may have closed it meanwhile.
_FRESH_SECONDS = 1.0
# Names are looked up, sentinels are asked, and both ends say who they are.
_CONNECTING_SECONDS = 3 * SOCKET_SECONDS
# A connection that was given up while it was made is closed by the loop's next turns, which may be its last; over TLS both ends
# say goodbye first.
_FAREWELL_SECONDS = 0.01


class Link:
    """Sends what belongs together over one connection, in one go."""

    def __init__(self, client: Redis, processes: Processes, sentinel: Sentinel | None = None) -> None:
        """Owns ``client`` and ``sentinel``; connects to nothing yet."""
        self._client = client
        self._processes = processes
        self._sentinel = sentinel
        self._idle: list[tuple[AbstractConnection, float]] = []

    async def send(self, commands: Sequence[Command], *, by_text: bool = False) -> list[Any]:
        """The answers, errors of single commands among them; raises what the client raises where the connection fails."""
        connection = await self._take()
        try:
            process = self._processes.at(connection)
            asked = [command.by_text(process) if by_text else command.by_name(process) for command in commands]
            # One clock for all of it: the client's own would be set for each message, and cost more than the exchange.
            async with asyncio.timeout(SOCKET_SECONDS):
                # Its types know of commands without arguments alone.
                packed = b"".join(pack_command(one) for one in asked)  # type: ignore[arg-type]
                await connection.send_packed_command(packed, check_health=False)
                answers = [await _read(connection) for _ in commands]
        except BaseException:
            # Answers may be under way that nobody will read.
            await self._drop(connection)
            raise
        if any(map(is_of_a_replica, answers)):
            # A master that became a replica keeps its connections; by the same name another one may be found now.
            await self._drop(connection)
        else:
            self._idle.append((connection, asyncio.get_running_loop().time()))
        return answers

    async def ask(self, *arguments: Argument) -> Any:
        """The answer to one plain command, however long it takes; raises what the client raises."""
        return await self._client.execute_command(*arguments)

    async def close_idle(self) -> None:
        """Closes the connections that nobody is using."""
        idle, self._idle = self._idle, []
        for connection, _ in idle:
            await self._drop(connection)
        with contextlib.suppress(RedisError, OSError):
            await self._client.connection_pool.disconnect(inuse_connections=False)

    async def aclose(self) -> None:
        """Closes all connections."""
        idle, self._idle = self._idle, []
        for connection, _ in idle:
            # To its end: a TLS connection says goodbye first, and the loop may be about to stop.
            with contextlib.suppress(RedisError, OSError):
                await connection.disconnect()
            await self._client.connection_pool.release(connection)
        for part in (self._client, self._sentinel):
            if part is not None:
                with contextlib.suppress(RedisError, OSError):
                    await part.aclose()
        await asyncio.sleep(_FAREWELL_SECONDS)

    async def _take(self) -> AbstractConnection:
        pool = self._client.connection_pool
        if self._idle:
            connection, used_at = self._idle.pop()
            if asyncio.get_running_loop().time() - used_at < _FRESH_SECONDS:
                return connection
            await pool.release(connection)
        async with asyncio.timeout(_CONNECTING_SECONDS):
            taken: AbstractConnection = await pool.get_connection()
        return taken

    async def _drop(self, connection: AbstractConnection) -> None:
        with contextlib.suppress(RedisError, OSError):
            await connection.disconnect(nowait=True)
        await self._client.connection_pool.release(connection)


def is_of_a_replica(answer: object) -> bool:
    """Whether a replica refused to write. Before Redis 7 it says so within an error of the script that tried to."""
    return isinstance(answer, ReadOnlyError) or (isinstance(answer, ResponseError) and "-READONLY " in str(answer))


async def _read(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error
