"""What the instance would decide for a request now: ``POST /explain`` of the admin API."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from router_extproc.analysis.classifier import NOTHING_LEARNED, Classifier
from router_extproc.dialects.openai import write_error
from router_extproc.errors import PayloadTooLargeError, RequestError
from router_extproc.registry.health import DeploymentHealth
from router_extproc.registry.snapshot import Registry
from router_extproc.request import CHAT_COMPLETIONS
from router_extproc.router import Router, Situation

JSON = "application/json"

_log = logging.getLogger(__name__)


class CurrentRouter:
    """Decides for the newest configuration that it was told. The classifier is loaded when the first router is asked for:
    few observers ever explain anything, and none should start later for it.
    """

    def __init__(self, load: Callable[[], Classifier]) -> None:
        self._load = load
        self._registry = Registry()
        self._router: Router | None = None
        self._classifier: Classifier | None = None
        self._lock = threading.Lock()

    def know(self, registry: Registry) -> None:
        """Takes another configuration over."""
        self._registry, self._router = registry, None

    def __call__(self) -> Router:
        """The router. May take a second: not to be called from an event loop."""
        with self._lock:
            router, registry = self._router, self._registry
            if router is None or router.registry is not registry:
                self._classifier = self._classifier or self._load_or_do_without()
                self._router = router = Router(registry, self._classifier, time.perf_counter)
            return router

    def _load_or_do_without(self) -> Classifier:
        try:
            return self._load()
        except Exception:  # noqa: BLE001 - whatever is wrong with its files, the rest can be explained
            _log.exception("classifier cannot be loaded: explanations do without")
            return NOTHING_LEARNED


def explain_route(
    router: Callable[[], Router],
    health: Callable[[], Mapping[str, DeploymentHealth]],
    token_ratios: Callable[[], Mapping[str, float]],
) -> Route:
    """The route. The body is the request's own; ``?path=`` names another path than chat completions.

    Weighted orders are drawn with seed 0, so equal questions get equal answers. Nobody is called, nothing is booked.
    """

    async def explain(request: Request) -> Response:
        path = request.query_params.get("path", CHAT_COMPLETIONS)
        now = await run_in_threadpool(router)
        try:
            body = await _read(request, now.registry.max_body_bytes)
            situation = Situation(health=health(), now=time.time(), token_ratios=token_ratios())
            document = await run_in_threadpool(_explain, now, path, dict(request.headers), body, situation)
        except RequestError as error:
            return Response(write_error(error), error.status, media_type=JSON)
        except ClientDisconnect:
            return Response(status_code=400)
        return Response(document, media_type=JSON)

    return Route("/explain", explain, methods=["POST"])


def _explain(router: Router, path: str, headers: Mapping[str, str], body: bytes, situation: Situation) -> bytes:
    request = router.read("POST", path, headers, body)
    return msgspec.json.encode(router.explain(request, situation))


async def _read(request: Request, limit: int) -> bytes:
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > limit:
            raise PayloadTooLargeError(f"The body is over {limit} bytes.")
        pieces.append(piece)
    return b"".join(pieces)
