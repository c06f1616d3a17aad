"""The simulator's configuration: frozen values, read from JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from router_extproc.errors import ConfigurationError, Problem
from router_extproc.simulator.faults import HEALTHY, FaultScript

MEBIBYTE = 1 << 20

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Positive = Annotated[int, msgspec.Meta(ge=1)]


class SimulatedDeployment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One simulated provider endpoint, on a port of its own."""

    name: str
    port: Port = 0
    """0 takes a free one; ``Simulator.port`` tells which."""
    models: tuple[str, ...] | None = None
    """The model ids it serves; others get 404. ``None`` serves any."""
    api_keys: tuple[str, ...] | None = None
    """The bearer tokens it accepts; others get 401. ``None`` asks for none."""
    context_window: Positive | None = None
    """Tokens of prompt and answer together; more gets the 400 ``context_length_exceeded``."""
    requests_per_minute: Positive | None = None
    tokens_per_minute: Positive | None = None
    """Above either it answers 429 with the time to wait, as a bucket that refills all the time."""
    faults: FaultScript = HEALTHY
    base_path: str = "/v1"
    tls_certificate: str | None = None
    """PEM file with the certificate chain; speaks TLS where set. Needs ``tls_key``."""
    tls_key: str | None = None
    seed: int = 0
    """Chance (``error_rate``, drawn delays) repeats itself for the same name and seed."""


class SimulatorConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """All deployments that one simulator process plays."""

    deployments: tuple[SimulatedDeployment, ...]
    host: str = "127.0.0.1"
    obey_header: bool = False
    """Whether a request may script its own faults with ``x-simulate``."""
    record: bool = True
    """Whether requests are kept for ``/_simulator/requests``; counters are always kept."""
    record_limit: Positive = 1000
    """Requests kept for each deployment, the newest."""
    max_body_bytes: Positive = 40 * MEBIBYTE


def load_config(path: Path) -> SimulatorConfig:
    """Read a configuration file.

    Raises:
        ConfigurationError: it cannot be read, is no JSON, or has a wrong key or value.
    """
    try:
        config = msgspec.json.decode(path.read_bytes(), type=SimulatorConfig)
    except OSError as error:
        raise _refused(path, error.strerror or str(error)) from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _refused(path, str(error)) from error
    names = [deployment.name for deployment in config.deployments]
    if len(set(names)) < len(names):
        raise _refused(path, "two deployments have the same name")
    return config


def _refused(path: Path, message: str) -> ConfigurationError:
    # JSON's parser reports a path within the document instead of a line.
    return ConfigurationError((Problem(file=str(path), line=1, column=1, key="", message=message),))
