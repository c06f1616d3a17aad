"""One instance for each state directory: two would overwrite one another's files."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from router_extproc.config.state import StateDirectory
from router_extproc.errors import StartError


@contextlib.contextmanager
def exclusive(state: StateDirectory) -> Iterator[None]:
    """Holds the directory for the time of the block; the kernel lets go of it however this process ends.

    Raises:
        StartError: another instance holds it.
    """
    with (state.root / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise StartError(
                f"another instance (process {holder}) runs in {state.root}: stop it, or choose another --state"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
