"""Keeps Envoy's access log file from filling the disk: renames it, and tells Envoy to begin another.

Rules of this file
- Nothing is put away that was not read: the older files are deleted only while the newest is being read.
- Envoy goes on writing the renamed file until it has heard; so it is told again until the new one is there.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import urllib.request
from pathlib import Path

KEPT_FILES = 3
_TIMEOUT_SECONDS = 5.0

_log = logging.getLogger(__name__)


class Rotation:
    """Of the log at ``path``; ``instance`` is the file in which the supervisor says where Envoy's admin interface is."""

    def __init__(self, path: Path, instance: Path) -> None:
        self._path, self._instance = path, instance
        self._has_complained = False

    async def step(self, max_bytes: int, *, is_read: bool) -> None:
        """Rotates a file beyond ``max_bytes``; ``is_read`` says that every older one has been read to its end."""
        try:
            size = self._path.stat().st_size
        except FileNotFoundError:
            size = -1
        if size > max_bytes and is_read:
            self._rename()
        elif size >= 0 or not self._older(1).exists():
            return
        try:
            await asyncio.to_thread(self._reopen)
        except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException) as error:
            if not self._has_complained:
                _log.warning("Envoy could not be told to begin a new access log", extra={"reason": type(error).__name__})
            self._has_complained = True
        else:
            self._has_complained = False

    def _rename(self) -> None:
        for number in range(KEPT_FILES - 1, 0, -1):
            if self._older(number).exists():
                self._older(number).replace(self._older(number + 1))
        self._path.replace(self._older(1))

    def _reopen(self) -> None:
        address = str(json.loads(self._instance.read_bytes())["envoy_admin"])
        request = urllib.request.Request(f"{address}/reopen_logs", b"", method="POST")  # noqa: S310 - Envoy's own address
        # Envoy is here: a proxy of the environment has no part in it.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=_TIMEOUT_SECONDS):
            return

    def _older(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
