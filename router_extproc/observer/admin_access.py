"""Who may ask the admin API about money and keys, and change them.

Rules of this file
- A caller on this machine may; from elsewhere only with the bearer token of ``admin.token``.
- A browser on this machine is a caller on this machine: what a foreign page makes it send is refused, by the page's origin or
  what the browser says of it, by the name under which it found this address, and by the content type that pages cannot send
  unasked.
- The token is compared in constant time, and stands in no answer and no log.
"""

from __future__ import annotations

import functools
import hmac
import ipaddress
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

JSON = "application/json"
LOCAL, TOKEN = "local", "token"

Endpoint = Callable[[Request], Awaitable[Response]]
Token = Callable[[], str | None]

# A proxy on this machine is no caller on this machine: it writes one of these, unless it was told not to.
_PASSED_ON = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")
# A page of the same origin, or somebody who typed the address; programs say nothing.
_OWN_SITES = (None, "same-origin", "none")

_FOREIGN_PAGE = "this was sent by a page of another origin"
_FOREIGN_NAME = "this address was asked for under a name that is not its own"
_WRONG_TOKEN = "the bearer token is not that of admin.token"  # noqa: S105 - a sentence
_NEEDS_TOKEN = "from another machine this needs the header authorization: Bearer, with the token of admin.token"  # noqa: S105
_NO_TOKEN = "from another machine this needs admin.token in router.yaml"  # noqa: S105
_NEEDS_JSON = "a change needs the header content-type: application/json"


def guarded(endpoint: Endpoint, token: Token, *, changes: bool = False) -> Endpoint:
    """The endpoint for callers who may; it finds in ``request.state.actor`` how they proved it: ``local`` or ``token``."""

    @functools.wraps(endpoint)
    async def answer(request: Request) -> Response:
        refusal = _refusal(request, token(), changes=changes)
        return await endpoint(request) if refusal is None else refusal

    return answer


def error(status: int, message: str) -> Response:
    """An error as all of the admin API tells it."""
    return JSONResponse({"error": {"message": message}}, status_code=status)


def _refusal(request: Request, token: str | None, *, changes: bool) -> Response | None:
    """What is answered instead; None lets pass."""
    if changes and request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        return error(415, _NEEDS_JSON)
    if _is_foreign_page(request):
        return error(403, _FOREIGN_PAGE)
    scheme, _, shown = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        request.state.actor = TOKEN
        is_right = hmac.compare_digest(shown.strip().encode(), token.encode())
        return None if is_right else error(401, _WRONG_TOKEN)
    request.state.actor = LOCAL
    if not _is_local(request):
        return error(401, _NEEDS_TOKEN) if token else error(403, _NO_TOKEN)
    return None if _is_own_name(request.headers.get("host", "")) else error(403, _FOREIGN_NAME)


def _is_foreign_page(request: Request) -> bool:
    """Whether a browser says so; old ones tell the origin alone."""
    if request.headers.get("sec-fetch-site") not in _OWN_SITES:
        return True
    origin = request.headers.get("origin")
    try:
        return origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    except ValueError:
        return True


def _is_local(request: Request) -> bool:
    """Whether the caller is on this machine, and not a proxy there that passes somebody else on."""
    if request.client is None or any(name in request.headers for name in _PASSED_ON):
        return False
    try:
        address = ipaddress.ip_address(request.client.host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _is_own_name(host: str) -> bool:
    """A name that anybody could point here (DNS rebinding) is none of ours; addresses and localhost are."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
