"""Notices that files changed, also behind swapped symlinks as Kubernetes makes them.

By looking: a few ``stat`` calls each time cost nothing, work on every file system and need no kernel resource that may
have run out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

POLL_SECONDS = 0.2

_Identity = tuple[int, int, int, int] | None


async def changes(paths: Callable[[], Iterable[Path]], poll_seconds: float = POLL_SECONDS) -> AsyncIterator[None]:
    """Yields whenever one of the files is another than before and has been still for a moment: editors write in steps.

    ``paths`` is asked each time. A file that it names for the first time counts as changed: it may have been read before
    it was looked at here.
    """
    seen = last = {path: _identity(path) for path in paths()}
    while True:
        await asyncio.sleep(poll_seconds)
        now = {path: _identity(path) for path in paths()}
        is_still, last = now == last, now
        if is_still and not now.items() <= seen.items():
            seen = now
            yield


def _identity(path: Path) -> _Identity:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size
