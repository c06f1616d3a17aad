"""A way to a Redis server that can be cut without a word, and can lead to another server from then on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Wire:
    """Passes bytes on between a port of its own and ``target``, the port of a server."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._generation = 0

    @property
    def url(self) -> str:
        """As it stands in ``router.yaml``."""
        return f"redis://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """The connections of now stay open and carry nothing any more; new ones work."""
        self._generation += 1

    async def accept(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        """Serves one connection."""
        far, to_far = await asyncio.open_connection("127.0.0.1", self.target)
        for reader, writer in ((near, to_far), (far, to_near)):
            task = asyncio.create_task(self._pass_on(reader, writer, self._generation))
            self._tasks.add(task)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, generation: int) -> None:
        try:
            with contextlib.suppress(OSError):
                while data := await reader.read(1 << 16):
                    if generation == self._generation:
                        writer.write(data)
        finally:
            writer.close()

    async def aclose(self) -> None:
        """Ends all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def wire_to(port: int) -> AsyncIterator[Wire]:
    """A wire to a server's port."""
    wire = Wire(port)
    server = await asyncio.start_server(wire.accept, "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        server.close()
        await wire.aclose()
