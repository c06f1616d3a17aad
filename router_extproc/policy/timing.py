"""How long an attempt may take, in milliseconds."""

from __future__ import annotations

import math

from router_extproc.registry.snapshot import Route

# A stream's headers come with its first bytes; whoever thinks for longer before that sets it in the file.
STREAM_ATTEMPT_MS = 120_000

# Time between two attempts, as a share of one: the last attempt must begin early enough to end within the deadline.
_SLACK = 0.02


def attempt_timeout(route: Route, *, stream: bool, attempts: int) -> int | None:
    """The limit for one of at most ``attempts`` attempts until its response headers; None leaves it to the deadline.

    Nothing but its attempts bounds a stream, and Envoy begins none that could outlast the deadline. Where they do not
    all fit, each is shortened until a whole number of them, two at least, does. None is longer than a stream may be
    silent, before its first byte or after.
    """
    if not stream:
        return None if route.attempt_timeout_ms is None else min(route.attempt_timeout_ms, route.deadline_ms)
    wanted = min(route.attempt_timeout_ms or STREAM_ATTEMPT_MS, route.stream_idle_ms, route.deadline_ms)
    if attempts == 1 or wanted * attempts * (1 + _SLACK) <= route.deadline_ms:
        return wanted
    fitting = min(attempts, max(2, math.ceil(route.deadline_ms / wanted)))
    return max(1, min(wanted, int(route.deadline_ms / fitting / (1 + _SLACK))))
