"""What would become of a request now, for whom and why: ``POST /explain`` of the admin API."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router_extproc.analysis.classifier import NOTHING_LEARNED, Classifier
from router_extproc.dialects.openai import write_error
from router_extproc.errors import BadRequestError, PayloadTooLargeError, RequestError
from router_extproc.explaining import Question, UnknownKeyError, explain
from router_extproc.observer.admin_access import TOKEN, guarded
from router_extproc.observer.admin_errors import NotFoundError, answering
from router_extproc.observer.desk import Desk
from router_extproc.observer.levels import read_levels
from router_extproc.registry.health import DeploymentHealth
from router_extproc.registry.snapshot import Registry
from router_extproc.registry.spending import KeyGrant, Raise
from router_extproc.request import CHAT_COMPLETIONS
from router_extproc.router import Router, Situation
from router_extproc.store.counters import Level, Query

JSON = "application/json"

T = TypeVar("T")

_LONGEST_SHOWN = 100

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
    desk: Desk,
    router: Callable[[], Router],
    health: Callable[[], Mapping[str, DeploymentHealth]],
    token_ratios: Callable[[], Mapping[str, float]],
) -> Route:
    """The route, for those who may ask about keys and budgets. The body is the request's own; ``?path=`` names another path
    than chat completions, ``?tenant=`` or ``?key=`` for whom it is explained.

    Weighted orders are drawn with seed 0, so equal questions get equal answers. Nobody is called, nothing is booked.
    """

    async def show(request: Request) -> Response:
        now = await run_in_threadpool(router)
        try:
            question = await _question(request, now.registry.max_body_bytes)
            situation = Situation(health=health(), now=desk.clock(), token_ratios=token_ratios())
            instance = _FromThread(desk, asyncio.get_running_loop())
            # Reading a large body takes a while: the observer has other work meanwhile.
            shown = await run_in_threadpool(lambda: asyncio.run(explain(question, now, situation, instance)))
        except RequestError as error:
            return Response(write_error(error), error.status, media_type=JSON)
        except UnknownKeyError:
            raise NotFoundError(f"no such key: {request.query_params['key'][:_LONGEST_SHOWN]}") from None
        return Response(msgspec.json.encode(shown), media_type=JSON)

    return Route("/explain", guarded(answering(show), desk.token), methods=["POST"])


class _FromThread:
    """What the instance knows, for a thread beside the event loop on which that is found out."""

    def __init__(self, desk: Desk, loop: asyncio.AbstractEventLoop) -> None:
        self._desk, self._loop = desk, loop

    async def find(self, key: str) -> KeyGrant | None:
        """As ``explaining.Instance`` says, like the others."""
        return await self._there(self._desk.identities.find(key))

    async def raises(self) -> Mapping[str, Sequence[Raise]]:
        return await self._there(self._desk.identities.raises())

    async def levels(self, queries: Sequence[Query]) -> Sequence[Level]:
        return await self._there(read_levels(self._desk, queries))

    async def _there(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))


async def _question(request: Request, longest_body: int) -> Question:
    asked = request.query_params
    tenant, key = asked.get("tenant") or None, asked.get("key") or None
    if tenant and key:
        raise BadRequestError("tenant or key, not both: a key belongs to a tenant")
    headers = dict(request.headers)
    if request.state.actor == TOKEN:
        # That was for this API, and is nobody's virtual key.
        del headers["authorization"]
    return Question(asked.get("path", CHAT_COMPLETIONS), headers, await _read(request, longest_body), tenant, key)


async def _read(request: Request, limit: int) -> bytes:
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > limit:
            raise PayloadTooLargeError(f"The body is over {limit} bytes.")
        pieces.append(piece)
    return b"".join(pieces)
