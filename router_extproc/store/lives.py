"""Lives of Envoy, from the start of its process to its end: what was under way in one that is over, is over for its client.

Whoever starts Envoy gives each life a name, and Envoy says it with every question. What a request has set aside of limits on
requests in parallel is also counted in a counter of its life, so that it can be found when that is over.

Rules of this file
- Names are given by others, and two instances that share a store could have the same: counters bear a mark of our own instead.
- A life has a file before anything is counted in it, and until nothing is: nobody has to be there when it begins or ends.
- It has a counter for each place that counters may lie in, so that a request touches no place because of it alone.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from pathlib import Path
from zlib import crc32

VARIABLE = "ROUTER_ENVOY_LIFE"
"""In Envoy's environment: the name of its life."""

METADATA = "envoy-life"
"""gRPC metadata key with which Envoy says it, ``-`` where it has none."""

PREFIX = "life:"
"""Of the names of such counters, and of no others."""

PLACES = 64
_NAMELESS = frozenset(("", "-"))

_log = logging.getLogger(__name__)


def counter_of(mark: str, beside: str) -> str:
    """The counter of a life that lies in the same place as the counter ``beside``."""
    return f"{PREFIX}{mark};{crc32(beside.encode()) % PLACES}"


def counters_of(mark: str) -> tuple[str, ...]:
    """All counters of a life."""
    return tuple(f"{PREFIX}{mark};{place}" for place in range(PLACES))


def place_of(counter: str) -> int:
    """The number of the place in which a counter lies, of whatever kind."""
    return int(counter.rpartition(";")[2]) if counter.startswith(PREFIX) else crc32(counter.encode()) % PLACES


def is_of(file: Path, name: str) -> bool:
    """Whether a file is that of the life called ``name``."""
    return file.stem == _digest(name)


class Lives:
    """The lives of one instance's Envoy in which something may be set aside. The name of a file says it: ``LIFE.MARK``."""

    def __init__(self, folder: Path) -> None:
        """``folder`` is made when it is needed."""
        self._folder = folder
        self._marks: dict[str, str] = {}
        self._has_complained = False

    def mark(self, name: str) -> str:
        """By what the life called ``name`` is known in counters; empty where it has no name, or cannot be written down."""
        if name in _NAMELESS:
            return ""
        if name not in self._marks:
            try:
                self._marks[name] = self._begin(_digest(name))
            except OSError:
                if not self._has_complained:
                    _log.exception("Envoy's life cannot be written down: if it dies, what is under way keeps its places")
                self._has_complained = True
                return ""
        return self._marks[name]

    def files(self) -> dict[str, Path]:
        """The files of all lives, by their marks.

        Raises:
            OSError: the folder cannot be read.
        """
        try:
            return {path.suffix[1:]: path for path in self._folder.iterdir()}
        except FileNotFoundError:
            return {}

    def _begin(self, life: str) -> str:
        """A mark that another process has given, else one of our own: that a life may come to have several does no harm."""
        self._folder.mkdir(exist_ok=True)
        path = next(self._folder.glob(f"{life}.*"), None)
        if path is None:
            path = self._folder / f"{life}.{secrets.token_hex(8)}"
            path.touch(mode=0o600)
        return path.suffix[1:]


def _digest(name: str) -> str:
    return hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=16).hexdigest()
