"""Live health of deployments, and what was learned of models, as values.

The observer writes them, every decider reads them within a second.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

CLOSED = "closed"
OPEN = "open"
HALF_OPEN = "half_open"


class DeploymentHealth(msgspec.Struct, frozen=True):
    """``state`` is ``closed`` (healthy), ``open`` (cooling down) or ``half_open`` (one probe may pass).

    ``probe`` names the single probe that is free while half open: whoever claims it first may send one request.
    ``open_until`` is in seconds since the epoch. ``time_to_first_byte_ms`` is the recent median, None without traffic.
    ``failure_ratio`` is the share of failed attempts in the rolling window. ``quota_until``, in seconds since the epoch, is
    when a quota that the provider calls used up is there again; 0 when none is. It says nothing about ``state``.
    ``quota_unit`` is what it is a quota of, ``requests`` or ``tokens``.
    """

    state: str = CLOSED
    probe: str | None = None
    open_until: float = 0.0
    failure_ratio: float = 0.0
    consecutive_failures: int = 0
    time_to_first_byte_ms: float | None = None
    quota_until: float = 0.0
    quota_unit: str = ""


class Health(msgspec.Struct, frozen=True):
    """All deployments that were seen; one that is missing is healthy and unmeasured. ``written_at`` in epoch seconds.

    ``token_ratios`` says, by model, how many tokens it counts in a prompt for each one that is estimated; a model that is
    missing is not known well enough.
    """

    written_at: float = 0.0
    deployments: dict[str, DeploymentHealth] = {}
    token_ratios: dict[str, float] = {}


UNKNOWN_HEALTH: Mapping[str, DeploymentHealth] = {}
NO_RATIOS: Mapping[str, float] = {}


def claim_name(probe: str) -> str:
    """The file by which a worker claims a probe."""
    return hashlib.sha256(probe.encode()).hexdigest()[:32]


def encode_health(health: Health) -> bytes:
    """The document that ``read_health`` reads."""
    return msgspec.json.encode(health)


def read_health(path: Path) -> Health:
    """Reads what the observer wrote last.

    Raises:
        OSError: there is no such file.
        msgspec.DecodeError: it is not a health document of this version.
    """
    return msgspec.json.decode(path.read_bytes(), type=Health)
