"""What the supervisor tells the observer, in ``observer.json`` of the state directory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec


class Cooling(msgspec.Struct, frozen=True):
    """When a deployment is left alone: the ``cooling`` section of router.yaml, times in milliseconds."""

    failures: int = 5
    failure_ratio: float = 0.5
    window_ms: int = 30_000
    time_ms: int = 5_000
    max_time_ms: int = 300_000


class ObserverOptions(msgspec.Struct, frozen=True):
    """Where the admin API listens, when deployments cool down, how much of the decision log is kept.

    ``admin_token_env`` and ``admin_token_file`` say where the bearer token of the admin API lies, if there is one.
    ``max_log_bytes`` is the size at which the JSON-lines file is rotated. SQLite keeps a record for ``keep_ms``, and no more
    than ``keep_records`` of them.
    """

    admin_address: str = "127.0.0.1"
    admin_port: int = 9902
    admin_token_env: str | None = None
    admin_token_file: str | None = None
    cooling: Cooling = Cooling()
    max_log_bytes: int = 64 << 20
    keep_ms: int = 7 * 24 * 3_600_000
    keep_records: int = 1_000_000


def read_token(options: ObserverOptions, environ: Mapping[str, str]) -> str | None:
    """The admin API's token as it lies there now; None when there is none, and when it cannot be read."""
    if options.admin_token_env is not None:
        return environ.get(options.admin_token_env, "").strip() or None
    if options.admin_token_file is None:
        return None
    try:
        return Path(options.admin_token_file).read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def encode_options(options: ObserverOptions) -> bytes:
    """The document that ``read_options`` reads."""
    return msgspec.json.encode(options)


def read_options(path: Path) -> ObserverOptions:
    """Reads what the supervisor wrote.

    Raises:
        OSError: the file cannot be read.
        msgspec.DecodeError: it is not a document of this version.
    """
    return msgspec.json.decode(path.read_bytes(), type=ObserverOptions)
