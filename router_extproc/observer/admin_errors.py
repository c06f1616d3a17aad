"""What goes wrong with a question to the admin API, as answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from router_extproc.errors import BadRequestError, RouterError
from router_extproc.observer.admin_access import error
from router_extproc.store.counters import StoreUnavailableError

Handler = Callable[[Request], Awaitable[Response]]


class NotFoundError(RouterError):
    """There is nothing of this name."""


class ConflictError(RouterError):
    """What is asked for cannot be done to what is there."""


def answering(handler: Handler) -> Handler:
    """The handler with its errors as answers."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except BadRequestError as problem:
            return error(400, problem.message)
        except NotFoundError as problem:
            return error(404, str(problem))
        except ConflictError as problem:
            return error(409, str(problem))
        except StoreUnavailableError as problem:
            return error(503, str(problem))
        except ClientDisconnect:
            return Response(status_code=400)

    return answer
