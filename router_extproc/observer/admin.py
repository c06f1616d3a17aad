"""The admin API: metrics, readiness, live health and recent decisions. It reads and never changes anything."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from router_extproc.errors import StartError
from router_extproc.registry.health import Health
from router_extproc.store.decisions import find_decision, recent_decisions

_DEFAULT_LIMIT = 50
_LARGEST_LIMIT = 1_000
_SHUTDOWN_SECONDS = 1


def admin_app(
    metrics: CollectorRegistry,
    decisions: Path,
    health: Callable[[], Health],
    reasons_not_ready: Callable[[], Awaitable[list[str]]],
) -> Starlette:
    """The routes. ``decisions`` is the SQLite file, ``reasons_not_ready`` says what the instance lacks to serve."""

    async def show_metrics(_: Request) -> Response:
        return Response(generate_latest(metrics), media_type=CONTENT_TYPE_LATEST)

    async def say_alive(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def say_ready(_: Request) -> Response:
        reasons = await reasons_not_ready()
        if reasons:
            return JSONResponse({"status": "not ready", "reasons": reasons}, status_code=503)
        return JSONResponse({"status": "ready"})

    async def show_health(_: Request) -> Response:
        return _json(msgspec.json.encode(health()))

    async def list_decisions(request: Request) -> Response:
        limit = _limit_of(request)
        if limit is None:
            return _error(400, f"limit must be a number from 1 to {_LARGEST_LIMIT}")
        documents = await asyncio.to_thread(recent_decisions, decisions, limit)
        return _json(('{"decisions":[' + ",".join(documents) + "]}").encode())

    async def show_decision(request: Request) -> Response:
        document = await asyncio.to_thread(find_decision, decisions, request.path_params["id"])
        return _error(404, "no such decision") if document is None else _json(document.encode())

    return Starlette(
        routes=[
            Route("/metrics", show_metrics),
            Route("/healthz", say_alive),
            Route("/readyz", say_ready),
            Route("/health/deployments", show_health),
            Route("/decisions", list_decisions),
            Route("/decisions/{id}", show_decision),
        ]
    )


class AdminServer(uvicorn.Server):
    """Serves on a socket that is already bound; the process's signals stay with the observer."""

    def __init__(self, app: Starlette, listener: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        )
        super().__init__(config)
        self._listener = listener

    async def run_until_stopped(self) -> None:
        """Serves until ``should_exit`` is set."""
        await self.serve(sockets=[self._listener])

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none: the observer ends this server itself."""
        yield


def bind(address: str, port: int) -> socket.socket:
    """The admin listener's socket.

    Raises:
        StartError: the address cannot be had; the message names the key of router.yaml to change.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
        # Listening is what finds out that another process has the port.
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise StartError(
            f"admin.port: {address}:{port} cannot be had ({reason}); change admin.port or admin.address in router.yaml"
        ) from error
    listener.setblocking(False)  # noqa: FBT003 - the socket's own signature
    return listener


def _limit_of(request: Request) -> int | None:
    text = request.query_params.get("limit", str(_DEFAULT_LIMIT))
    if not text.isdecimal() or len(text) > len(str(_LARGEST_LIMIT)):
        return None
    limit = int(text)
    return limit if 1 <= limit <= _LARGEST_LIMIT else None


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": {"message": message}}, status_code=status)
