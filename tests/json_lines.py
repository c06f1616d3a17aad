"""Logs of JSON lines that somebody still writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def whole_lines(file: Path) -> list[dict[str, Any]]:
    """The lines that are there, oldest first; not the one that is being written this moment, and none without the file."""
    written = file.read_bytes() if file.exists() else b""
    return [json.loads(line) for line in written.rpartition(b"\n")[0].splitlines() if line.startswith(b"{")]
