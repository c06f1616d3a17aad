"""One instance for each state directory: two would overwrite one another's files."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from typing import IO

from router_extproc.config.state import StateDirectory
from router_extproc.errors import StartError

# Commands look for an instant whether somebody holds the directory; an instance stays.
_MOMENT_SECONDS, _POLL_SECONDS = 0.2, 0.01


@contextlib.contextmanager
def exclusive(state: StateDirectory) -> Iterator[None]:
    """Holds the directory for the time of the block; the kernel lets go of it however this process ends.

    Raises:
        StartError: another instance holds it.
    """
    with (state.root / "lock").open("a+") as file:
        deadline = time.monotonic() + _MOMENT_SECONDS
        while not (is_ours := _take(file)) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        if not is_ours:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise StartError(f"another instance (process {holder}) runs in {state.root}: stop it, or choose another --state")
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _take(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
