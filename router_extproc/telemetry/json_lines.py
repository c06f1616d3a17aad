"""Logging as JSON lines, for every process of the package.

A line has ``at`` (RFC 3339, UTC), ``level``, ``process``, ``pid``, ``logger``, ``message``, then what the caller passed
as ``extra``, and ``exception`` with its traceback. Text that looks like a credential is masked, wherever it stands.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

# What a LogRecord has of its own; everything else came as ``extra``.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_WRITTEN = ("at", "level", "process", "pid", "logger", "message", "exception")

# Keys of providers (sk-…, gsk_…, AIza…, AKIA…) and whatever follows "Bearer": nobody logs them on purpose.
_CREDENTIAL = re.compile(
    r"\b(?:(?:sk|gsk|xai|hf)[-_][A-Za-z0-9_-]{16,}|AIza[0-9A-Za-z_-]{20,}|AKIA[0-9A-Z]{12,})|(?<=Bearer )[^\s\"']{8,}"
)
_MASK = "[redacted]"


class JsonLinesFormatter(logging.Formatter):
    """``process`` is the process's role, such as ``router-extproc-observer``."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """One line without line breaks; a value that JSON does not know is written as its ``str``."""
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "process": self._process,
            "pid": record.process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for key, value in vars(record).items():
            if key not in _OWN:
                line[f"extra_{key}" if key in _WRITTEN else key] = value
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _CREDENTIAL.sub(_MASK, json.dumps(line, default=str, ensure_ascii=False))


def configure_logging(process: str, *, level: str | None = None, stream: TextIO | None = None) -> None:
    """Sends all of this process's logging to ``stream`` (default: standard error) as JSON lines.

    ``level`` defaults to the environment's ROUTER_LOG_LEVEL, then to ``info``. Called once, by the process's entry point.
    """
    name = (level or os.environ.get("ROUTER_LOG_LEVEL") or "info").upper()
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLinesFormatter(process))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.getLevelNamesMapping().get(name, logging.INFO))
    logging.captureWarnings(capture=True)
