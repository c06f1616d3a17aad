"""Listening sockets: one for each deployment, opened and closed as its faults say."""

from __future__ import annotations

import asyncio
import resource
import signal
import socket
import ssl
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

import uvloop

from router_extproc.errors import StartError
from router_extproc.simulator.answers import PlainAnswer
from router_extproc.simulator.configuration import SimulatedDeployment, SimulatorConfig
from router_extproc.simulator.control import control
from router_extproc.simulator.deployment import Deployment
from router_extproc.simulator.faults import FaultScript
from router_extproc.simulator.protocol import Connection, Reply
from router_extproc.simulator.received import ReceivedRequest
from router_extproc.simulator.recorder import RecordedRequest, Statistics

_BACKLOG = 4096


class _Listener:
    """One deployment's port, reserved for as long as the simulator runs, open or closed.

    The reservation is a socket that is bound and never listens: while nobody else listens on the port, a client gets
    "connection refused", and no other process can take it.
    """

    def __init__(self, host: str, deployment: SimulatedDeployment) -> None:
        self._name = deployment.name
        self._tls = _tls_context(deployment)
        self._reservation = self._bind(host, deployment.port)
        self.host: str = host
        self.port: int = self._reservation.getsockname()[1]
        self._server: asyncio.Server | None = None

    @property
    def scheme(self) -> str:
        return "http" if self._tls is None else "https"

    async def open(self, connect: Callable[[], Connection]) -> None:
        if self._server is None:
            loop = asyncio.get_running_loop()
            listening = self._bind(self.host, self.port)
            self._server = await loop.create_server(connect, sock=listening, ssl=self._tls, backlog=_BACKLOG)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def release(self) -> None:
        self.close()
        self._reservation.close()

    def _bind(self, host: str, port: int) -> socket.socket:
        bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.setblocking(False)  # noqa: FBT003 -- the standard library's signature
            bound.bind((host, port))
        except OSError as error:
            bound.close()
            raise StartError(f"simulated deployment {self._name}: {host}:{port} cannot be had: {error.strerror}") from error
        return bound


class Simulator:
    """All deployments of a configuration, on the running event loop.

    ``async with Simulator(config) as simulator`` starts and stops it; ``start`` and ``stop`` do the same by hand.
    """

    def __init__(self, config: SimulatorConfig) -> None:
        self.config = config
        record_limit = config.record_limit if config.record else 0
        self._deployments = {
            deployment.name: Deployment(deployment, obey_header=config.obey_header, record_limit=record_limit)
            for deployment in config.deployments
        }
        self._listeners: dict[str, _Listener] = {}
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[PlainAnswer]] = set()

    async def start(self) -> None:
        """Listen on every port.

        Raises:
            StartError: a port or a TLS file cannot be had; nothing is left listening.
        """
        try:
            for deployment in self.config.deployments:
                self._listeners[deployment.name] = _Listener(self.config.host, deployment)
            for name in self._listeners:
                await self._follow_script(name)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        for listener in self._listeners.values():
            listener.release()
        self._listeners.clear()
        connections = tuple(self._connections)
        for connection in connections:
            connection.reset()
        await asyncio.gather(*self._tasks, *(connection.closed for connection in connections))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def port(self, name: str) -> int:
        """Return the port of a deployment; ``KeyError`` where it has none."""
        return self._listeners[name].port

    def ports(self) -> dict[str, int]:
        """Return all ports by deployment."""
        return {name: listener.port for name, listener in self._listeners.items()}

    def base_url(self, name: str) -> str:
        """Return the URL that an SDK takes as ``base_url``."""
        listener = self._listeners[name]
        host = f"[{listener.host}]" if ":" in listener.host else listener.host
        return f"{listener.scheme}://{host}:{listener.port}{self._deployments[name].config.base_path}"

    def requests(self, name: str) -> list[RecordedRequest]:
        """Return what a deployment received, oldest first."""
        return self._deployments[name].recorder.requests()

    def statistics(self, name: str) -> Statistics:
        """Return a deployment's counters; they go on counting."""
        return self._deployments[name].recorder.statistics

    async def set_faults(self, name: str, script: FaultScript) -> None:
        """Replace a deployment's faults, from the start of the script; what is being answered goes on as it began.

        Raises:
            StartError: the port is to be opened again and cannot be.
        """
        self._deployments[name].script = script
        await self._follow_script(name)

    async def _follow_script(self, name: str) -> None:
        deployment, listener = self._deployments[name], self._listeners[name]
        if not deployment.is_closed:
            await listener.open(lambda: self._connect(deployment))
            return
        listener.close()
        for connection in tuple(self._connections):
            if connection.deployment is deployment:
                connection.reset()

    def _connect(self, deployment: Deployment) -> Connection:
        return Connection(
            deployment,
            control=self._control,
            connections=self._connections,
            max_body_bytes=self.config.max_body_bytes,
        )

    def _control(self, request: ReceivedRequest, deployment: Deployment, reply: Reply) -> None:
        answering = control(request, self._deployments, deployment, self.set_faults)
        task = asyncio.get_running_loop().create_task(answering)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda done: reply(done.result()))


def run(config: SimulatorConfig, *, ready: Callable[[Mapping[str, int]], None]) -> None:
    """Serve until SIGTERM or SIGINT; ``ready`` is called with the ports once all of them listen.

    Raises:
        StartError: a port or a TLS file cannot be had.
    """
    _allow_many_connections()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(config, ready))


async def _serve(config: SimulatorConfig, ready: Callable[[Mapping[str, int]], None]) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with Simulator(config) as simulator:
        ready(simulator.ports())
        await stopped.wait()


def _allow_many_connections() -> None:
    """Raise the limit of open files to what the system allows this process; the default is often 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _tls_context(deployment: SimulatedDeployment) -> ssl.SSLContext | None:
    if deployment.tls_certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(deployment.tls_certificate, deployment.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise StartError(f"simulated deployment {deployment.name}: TLS certificate or key: {error}") from error
    return context
