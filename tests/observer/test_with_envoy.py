"""What the real Envoy writes about attempts that end in every way, read by the real observer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from router_extproc.envoyconf import names
from router_extproc.envoyconf.access_logs import to_observer
from router_extproc.envoyconf.messages import extension, pipe_address, socket_address, typed
from router_extproc.observer.options import Cooling
from tests.kept_ports import KeptPort
from tests.observer.process import ObserverProcess, eventually

pytestmark = pytest.mark.end_to_end

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
BEGUN = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n"
LIMITED = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\nx-ratelimit-remaining-requests: 0\r\ncontent-length: 0\r\n\r\n"


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: set[str]) -> None:
    """A provider that does what the path asks for, until the connection ends."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            asked.add(head.split(b" ", 2)[1].decode())
            path = head.split(b" ", 2)[1].rsplit(b"/", 1)[-1]
            writer.write({b"limited": LIMITED, b"hang": b"", b"begin-and-hang": BEGUN, b"cut": BEGUN}.get(path, OK))
            await writer.drain()
            if path == b"cut":
                break
            if path.endswith(b"hang"):
                await reader.read()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def provider() -> AsyncIterator[tuple[int, set[str]]]:
    """The provider's port, and the paths that it was asked for. At the end every connection is waited for: whoever made them
    has gone by then.
    """
    conversations: set[asyncio.Task[None]] = set()
    asked: set[str] = set()

    def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversations.add(asyncio.create_task(answer(reader, writer, asked)))

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1], asked
    server.close()
    await asyncio.gather(*conversations)


def cluster(name: str, address: dict[str, Any], **more: Any) -> dict[str, Any]:
    endpoint = {"lb_endpoints": [{"endpoint": {"address": address}}]}
    assignment = {"cluster_name": name, "endpoints": [endpoint]}
    return {"name": name, "type": "STATIC", "connect_timeout": "10s", "load_assignment": assignment, **more}


def bootstrap(listener: int, provider: int, nobody: int, observer: Path) -> dict[str, Any]:
    """One listener, one provider that answers and one that is not there, both logs to the observer."""
    retry = {"retry_on": "5xx,connect-failure,retriable-status-codes", "retriable_status_codes": [429], "num_retries": 1}
    routes = [
        {"match": {"prefix": "/idle"}, "route": {"cluster": "provider", "timeout": "0s", "idle_timeout": "0.3s"}},
        {"match": {"prefix": "/short"}, "route": {"cluster": "provider", "timeout": "0.3s"}},
        {"match": {"prefix": "/try"}, "route": {"cluster": "provider", "retry_policy": retry | {"per_try_timeout": "0.2s"}}},
        {"match": {"prefix": "/again"}, "route": {"cluster": "provider", "timeout": "0s", "retry_policy": retry}},
        {"match": {"prefix": "/refused"}, "route": {"cluster": "nobody", "retry_policy": retry}},
        {"match": {"prefix": "/"}, "route": {"cluster": "provider", "timeout": "0s"}},
    ]
    virtual_host = {"name": "all", "domains": ["*"], "include_request_attempt_count": True, "routes": routes}
    router = extension("router", "extensions.filters.http.router.v3.Router", upstream_log=[to_observer(names.ATTEMPT_LOG)])
    manager = extension(
        "manager",
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="clients",
        access_log=[to_observer(names.REQUEST_LOG)],
        route_config={"virtual_hosts": [virtual_host]},
        http_filters=[router],
    )
    http2 = typed("extensions.upstreams.http.v3.HttpProtocolOptions", explicit_http_config={"http2_protocol_options": {}})
    protocol = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2}
    return {
        "static_resources": {
            "listeners": [
                {"name": "clients", "address": socket_address("127.0.0.1", listener), "filter_chains": [{"filters": [manager]}]}
            ],
            "clusters": [
                cluster("provider", socket_address("127.0.0.1", provider)),
                cluster("nobody", socket_address("127.0.0.1", nobody)),
                cluster(names.OBSERVER, pipe_address(observer), typed_extension_protocol_options=protocol),
            ],
        }
    }


class Place:
    """A running Envoy, and what the observer recorded of a path."""

    def __init__(self, url: str, observer: ObserverProcess, asked: set[str]) -> None:
        self.url, self.observer, self._asked = url, observer, asked

    async def get(self, path: str) -> None:
        """Asks, until the answer is there or breaks off."""
        with contextlib.suppress(httpx.HTTPError):
            async with httpx.AsyncClient(timeout=30) as client:
                await client.get(self.url + path)

    async def leave(self, path: str, status: int) -> None:
        """Asks, and goes away once an answer with this status has begun; with 0, once the provider knows of the request."""
        async with httpx.AsyncClient(timeout=30) as client:
            if status:
                async with client.stream("GET", self.url + path) as answer:
                    assert answer.status_code == status
                return
            asking = asyncio.create_task(client.get(self.url + path))
            await eventually(lambda: path in self._asked)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    async def record(self, path: str) -> dict[str, Any]:
        """The record of the request to ``path``."""
        return await eventually(lambda: next((record for record in self.observer.records() if record["path"] == path), {}))


@contextlib.contextmanager
def envoy(config: Path) -> Iterator[None]:
    """The real Envoy, ended at the end."""
    binary = Path(sys.executable).parent / "envoy"
    command = [binary, "-c", config, "--disable-hot-restart", "--concurrency", "1", "--log-level", "error"]
    process = subprocess.Popen(command)
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


def is_open(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
async def place(observers: Callable[..., ObserverProcess], tmp_path: Path) -> AsyncIterator[Place]:
    observer = observers(cooling=Cooling(failures=1_000))
    observer.start()
    listener, nobody, config = KeptPort(), KeptPort(), tmp_path / "envoy.json"
    async with provider() as (port, asked):
        socket_path = observer.state / "sockets" / "observer.sock"
        config.write_text(json.dumps(bootstrap(listener.number, port, nobody.number, socket_path)))
        with envoy(config):
            await eventually(lambda: is_open(listener.number))
            yield Place(f"http://127.0.0.1:{listener.number}", observer, asked)


PATHS = {
    "/ok": (200, "none", ["none"]),
    "/again/limited": (429, "rate_limited", ["rate_limited", "rate_limited"]),
    "/try/hang": (504, "timeout", ["timeout", "timeout"]),
    "/short/hang": (504, "timeout", ["timeout"]),
    "/idle/hang": (504, "timeout", ["timeout"]),
    "/idle/begin-and-hang": (200, "timeout", ["timeout"]),
    "/cut": (200, "reset", ["reset"]),
    "/refused": (503, "connect_failure", ["connect_failure", "connect_failure"]),
}
LEFT = {"/hang": (0, "client_disconnected"), "/begin-and-hang": (200, "client_disconnected")}


async def test_every_end_is_told_apart(place: Place) -> None:
    """Answers, refusals, timeouts of three kinds, cuts and clients that leave: each with its cause, for each attempt."""
    leaving = [place.leave(path, status) for path, (status, _) in LEFT.items()]
    await asyncio.gather(*(place.get(path) for path in PATHS), *leaving)
    for path, (status, cause, attempts) in PATHS.items():
        record = await place.record(path)
        found = record["status"], record["cause"], [attempt["cause"] for attempt in record["attempts"]]
        assert found == (status, cause, attempts), path
        assert [attempt["number"] for attempt in record["attempts"]] == list(range(1, len(attempts) + 1)), path
        assert record["attempt_count"] == len(attempts), path
    for path, (status, cause) in LEFT.items():
        record = await place.record(path)
        assert (record["status"], record["cause"], [each["cause"] for each in record["attempts"]]) == (
            status,
            cause,
            [cause],
        ), path
    [first, second] = (await place.record("/again/limited"))["attempts"]
    assert (first["retry_after_seconds"], first["remaining_requests"]) == (7.0, 0)
    assert second["started_at"] > first["started_at"]
    timed_out = (await place.record("/try/hang"))["attempts"]
    # Times are the attempt's own, not since the request began.
    assert all(150 < attempt["total_ms"] < 10_000 and attempt["time_to_first_byte_ms"] is None for attempt in timed_out)
    health = place.observer.health()
    assert health["nobody"]["consecutive_failures"] == 2
    assert health["provider"]["open_until"] > 0
