"""What the instance would decide for a request now: ``POST /explain`` of the admin API."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from router_extproc.dialects.openai import write_error
from router_extproc.errors import PayloadTooLargeError, RequestError
from router_extproc.registry.health import DeploymentHealth
from router_extproc.request import CHAT_COMPLETIONS
from router_extproc.router import Router, Situation

JSON = "application/json"


def explain_route(router: Callable[[], Router], health: Callable[[], Mapping[str, DeploymentHealth]]) -> Route:
    """The route. The body is the request's own; ``?path=`` names another path than chat completions.

    Weighted orders are drawn with seed 0, so equal questions get equal answers. Nobody is called, nothing is booked.
    """

    async def explain(request: Request) -> Response:
        path = request.query_params.get("path", CHAT_COMPLETIONS)
        now = router()
        try:
            body = await _read(request, now.registry.max_body_bytes)
            document = await run_in_threadpool(_explain, now, path, dict(request.headers), body, health())
        except RequestError as error:
            return Response(write_error(error), error.status, media_type=JSON)
        except ClientDisconnect:
            return Response(status_code=400)
        return Response(document, media_type=JSON)

    return Route("/explain", explain, methods=["POST"])


def _explain(
    router: Router, path: str, headers: Mapping[str, str], body: bytes, health: Mapping[str, DeploymentHealth]
) -> bytes:
    request = router.read("POST", path, headers, body)
    return msgspec.json.encode(router.explain(request, Situation(health=health, now=time.time())))


async def _read(request: Request, limit: int) -> bytes:
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > limit:
            raise PayloadTooLargeError(f"The body is over {limit} bytes.")
        pieces.append(piece)
    return b"".join(pieces)
