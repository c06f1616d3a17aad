"""Which server process answers a connection: asked once, when the connection is made."""

from __future__ import annotations

import re
from weakref import WeakKeyDictionary

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError

_RUN_ID = re.compile(r"run_id:([0-9a-f]+)")


class Processes:
    """Names of processes by connection. A process that was started again has another name, and no connection of before."""

    def __init__(self) -> None:
        self._names: WeakKeyDictionary[AbstractConnection, str] = WeakKeyDictionary()

    def at(self, connection: AbstractConnection) -> str:
        """The process that answers this connection."""
        return self._names[connection]

    async def greet(self, connection: AbstractConnection) -> None:
        """What is said on a new connection: who one is, by the client's own rules, then the question.

        Raises:
            RedisError: it may not be asked, or does not say.
        """
        await connection.on_connect()
        await connection.send_command("INFO", "server", check_health=False)
        answer = await connection.read_response()
        found = _RUN_ID.search(answer.decode())
        if found is None:
            raise RedisConnectionError("the server does not name its process (INFO server, run_id)")
        self._names[connection] = found.group(1)
