"""How long an attempt may take, in milliseconds."""

from __future__ import annotations

import math

from router_extproc.registry.snapshot import Route

# A stream's headers come with its first bytes; whoever thinks for longer before that sets it in the file.
STREAM_ATTEMPT_MS = 120_000


def attempt_timeout(route: Route, *, stream: bool) -> int | None:
    """The limit for one attempt until its response headers; None leaves it to the deadline.

    Nothing but attempts bounds a stream, so its attempts are made to divide the deadline: the last one ends with it.
    """
    if not stream:
        return None if route.attempt_timeout_ms is None else min(route.attempt_timeout_ms, route.deadline_ms)
    wanted = min(route.attempt_timeout_ms or STREAM_ATTEMPT_MS, route.deadline_ms)
    return max(1, route.deadline_ms // math.ceil(route.deadline_ms / wanted))
