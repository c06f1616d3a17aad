"""The few shapes that every builder writes: extensions, durations, headers, file sources.

Envoy's configuration is built as plain JSON objects whose keys are the field names of Envoy's protobuf messages; the tests
parse each of them with the compiled messages and ask the real Envoy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

Message = dict[str, Any]
"""One protobuf message in its JSON form."""

TYPE_URL = "type.googleapis.com/envoy."
HTTP_PROTOCOL_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def typed(type_name: str, **fields: Any) -> Message:
    """A message that names its own type; ``type_name`` is written without the leading ``envoy.``."""
    return {"@type": TYPE_URL + type_name, **fields}


def extension(name: str, type_name: str, **fields: Any) -> Message:
    """An extension: the name Envoy's statistics and per-route overrides know it by, and its typed configuration."""
    return {"name": name, "typed_config": typed(type_name, **fields)}


def duration(milliseconds: float) -> str:
    """A protobuf duration, for example ``1.500s``."""
    return f"{milliseconds / 1000:.3f}s"


def socket_address(address: str, port: int) -> Message:
    """A TCP address."""
    return {"socket_address": {"address": address, "port_value": port}}


def pipe_address(path: Path) -> Message:
    """A Unix socket."""
    return {"pipe": {"path": str(path)}}


def file_source(path: Path) -> Message:
    """An xDS resource read from a file, and read again whenever the file is replaced by a rename."""
    # Envoy watches the file's folder, which a relative path must name.
    name = str(path) if path.is_absolute() else f"./{path}"
    return {"path_config_source": {"path": name}, "resource_api_version": "V3"}


def set_header(key: str, value: str) -> Message:
    """Sets a header, whatever was there before; a value that formats to nothing leaves the header alone."""
    return {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def remove_prefix(prefix: str) -> Message:
    """A header mutation that removes every header whose name starts with ``prefix``."""
    return {"remove_on_match": {"key_matcher": {"prefix": prefix}}}
