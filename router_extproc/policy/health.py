"""Live health as the chain uses it: ready, to be probed, or cooling down."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping

from router_extproc.policy.choice import Option
from router_extproc.registry.health import CLOSED, HALF_OPEN, DeploymentHealth

UNSEEN = DeploymentHealth()


class Standing(enum.Enum):
    """Whether a deployment may be tried."""

    READY = "ready"
    PROBE = "probe"
    COOLING = "cooling"


def standing(health: DeploymentHealth | None) -> Standing:
    """A half-open deployment may be tried only by whoever takes its free probe."""
    if health is None or health.state == CLOSED:
        return Standing.READY
    if health.state == HALF_OPEN and health.probe is not None:
        return Standing.PROBE
    return Standing.COOLING


def describe(health: DeploymentHealth, now: float) -> str:
    """Why a cooling deployment is left alone, for people."""
    if health.state == HALF_OPEN:
        return "half open, its probe is taken"
    seconds = health.open_until - now
    return f"cooling down for {seconds:.1f} s more" if seconds > 0 else "cooling down"


def least_bad(options: Iterable[Option], health: Mapping[str, DeploymentHealth]) -> Option:
    """Of deployments that all cool down, the one that would be back soonest, then the one that failed least."""

    def badness(option: Option) -> tuple[float, float]:
        found = health.get(option.deployment.name, UNSEEN)
        return found.open_until, found.failure_ratio

    return min(options, key=badness)


def seconds_until_back(options: Iterable[Option], health: Mapping[str, DeploymentHealth], now: float) -> int:
    """Whole seconds, at least one, until the first of them may be tried again."""
    soonest = min((health.get(option.deployment.name, UNSEEN).open_until for option in options), default=now)
    return max(1, math.ceil(soonest - now))
