"""The admin API: metrics, readiness, live health, recent decisions; keys and budgets stand in files of their own."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import msgspec
import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from router_extproc.errors import StartError
from router_extproc.observer.admin_budgets import budget_routes
from router_extproc.observer.admin_keys import key_routes
from router_extproc.observer.desk import Desk
from router_extproc.observer.explaining import JSON, explain_route
from router_extproc.observer.reload_report import ReloadReport
from router_extproc.registry.health import DeploymentHealth, Health
from router_extproc.router import Router
from router_extproc.store.decisions import find_decision, recent_decisions

_DEFAULT_LIMIT = 50
_LARGEST_LIMIT = 1_000
_SHUTDOWN_SECONDS = 1


class Answers(Protocol):
    """What the admin API asks the observer for."""

    @property
    def metrics(self) -> CollectorRegistry:
        """All figures."""

    @property
    def decisions(self) -> Path:
        """The SQLite file of decisions."""

    @property
    def reload(self) -> ReloadReport:
        """What became of the last change of router.yaml."""

    @property
    def desk(self) -> Desk:
        """Keys, budgets and what was spent."""

    def router(self) -> Router:
        """Decides for the configuration that is in force; called in a thread, because it may take a while."""

    def health(self) -> Mapping[str, DeploymentHealth]:
        """All deployments as they are now."""

    def token_ratios(self) -> Mapping[str, float]:
        """How many tokens each model counts for one that is estimated, where that is known."""

    async def reasons_not_ready(self) -> list[str]:
        """What the instance lacks to serve; empty when it serves."""


def admin_app(answers: Answers) -> Starlette:
    """The routes."""

    async def show_metrics(_: Request) -> Response:
        return Response(generate_latest(answers.metrics), media_type=CONTENT_TYPE_LATEST)

    async def say_alive(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def say_ready(_: Request) -> Response:
        reasons = await answers.reasons_not_ready()
        state = {"status": "not ready" if reasons else "ready", "reasons": reasons}
        body = msgspec.json.encode(state | {"configuration": answers.reload})
        return Response(body, 503 if reasons else 200, media_type=JSON)

    async def show_health(_: Request) -> Response:
        health = Health(time.time(), dict(answers.health()), dict(answers.token_ratios()))
        return _json(msgspec.json.encode(health))

    async def list_decisions(request: Request) -> Response:
        limit = _limit_of(request)
        if limit is None:
            return _error(400, f"limit must be a number from 1 to {_LARGEST_LIMIT}")
        documents = await run_in_threadpool(recent_decisions, answers.decisions, limit)
        return _json(('{"decisions":[' + ",".join(documents) + "]}").encode())

    async def show_decision(request: Request) -> Response:
        document = await run_in_threadpool(find_decision, answers.decisions, request.path_params["id"])
        return _error(404, "no such decision") if document is None else _json(document.encode())

    return Starlette(
        routes=[
            Route("/metrics", show_metrics),
            Route("/healthz", say_alive),
            Route("/readyz", say_ready),
            Route("/health/deployments", show_health),
            Route("/decisions", list_decisions),
            Route("/decisions/{id}", show_decision),
            explain_route(answers.desk, answers.router, answers.health, answers.token_ratios),
            *key_routes(answers.desk),
            *budget_routes(answers.desk),
        ]
    )


class AdminServer(uvicorn.Server):
    """Serves on a socket that is already bound; the process's signals stay with the observer."""

    def __init__(self, app: Starlette, listener: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            log_level="warning",
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
    return Response(body, media_type=JSON)


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": {"message": message}}, status_code=status)
