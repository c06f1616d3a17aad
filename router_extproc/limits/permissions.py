"""What a caller may use: the tenant's and the key's permissions together, held against one request.

Rules of this file
- Permissions only take away. Of two lists what both allow is allowed, of two limits the lower holds.
- Names that end in ``*`` match by prefix, in permissions and in what they are held against alike.
"""

from __future__ import annotations

from collections.abc import Iterable

from router_extproc.caller import EVERYTHING, Caller, Permissions
from router_extproc.decision import NO_CONSTRAINTS, Constraints
from router_extproc.errors import PermissionDeniedError
from router_extproc.registry.snapshot import Registry
from router_extproc.request import Request


def narrower(one: Permissions, other: Permissions) -> Permissions:
    """What both allow."""
    raise NotImplementedError


def check(caller: Caller, request: Request, route: str) -> None:
    """Lets a request pass whose route and prompt the caller may use; models are the business of ``constrain``.

    ``route`` is the name that ``Router.route_of`` found. ``Router.decide`` calls this itself.

    Raises:
        PermissionDeniedError: the route is not the caller's, or the prompt has more tokens than allowed.
    """
    raise NotImplementedError


def constrain(permissions: Permissions, constraints: Constraints = NO_CONSTRAINTS) -> Constraints:
    """The constraints with what the permissions take away. ``Router.decide`` calls this itself with the request's caller."""
    raise NotImplementedError


def visible_names(permissions: Permissions, names: Iterable[str], registry: Registry) -> tuple[str, ...]:
    """Of these names of routes, models and aliases those that the caller may write in ``model``, for ``GET /v1/models``."""
    raise NotImplementedError
