"""``reload.json``: what became of the last change of router.yaml, written by the supervisor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec


class ReloadReport(msgspec.Struct, frozen=True):
    """``at`` is in epoch seconds; ``accepted`` and ``refused`` count changes since the supervisor started."""

    revision: str = ""
    at: float = 0.0
    ok: bool = True
    problems: tuple[Any, ...] = ()
    accepted: int = 0
    refused: int = 0


def read_reload_report(path: Path) -> ReloadReport:
    """Reads what the supervisor wrote.

    Raises:
        OSError: the file cannot be read.
        msgspec.DecodeError: it is not a report.
    """
    return msgspec.json.decode(path.read_bytes(), type=ReloadReport)
