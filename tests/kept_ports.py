"""Ports that nobody else is given between the moment when a test chooses them and the moment when somebody listens there."""

from __future__ import annotations

import os
import socket
import weakref


class KeptPort:
    """A port of loopback; the kernel gives it to nobody else for as long as this object lives.

    A socket is bound to it and never listens: while nobody else listens there connections are refused, and whoever sets
    SO_REUSEADDR, as every server does that tests start, may listen there beside it.
    """

    def __init__(self) -> None:
        kept = socket.socket()
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", 0))
        self.number: int = kept.getsockname()[1]
        # Who forgets an instance need not remember to close this.
        self.release = weakref.finalize(self, os.close, kept.detach())
