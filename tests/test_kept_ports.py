"""A port that is kept is nobody else's, and its owner's to listen on."""

from __future__ import annotations

import socket

import pytest

from tests.kept_ports import KeptPort


def test_only_its_owner_listens_there() -> None:
    """Nobody is there at first; who means the port by its number may listen, and again after an end."""
    kept = KeptPort()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", kept.number))
    with pytest.raises(OSError, match="in use"), socket.socket() as stranger:
        stranger.bind(("127.0.0.1", kept.number))
    for _ in range(2):
        with socket.create_server(("127.0.0.1", kept.number)), socket.create_connection(("127.0.0.1", kept.number)):
            pass
    kept.release()
    with socket.socket() as anybody:
        anybody.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        anybody.bind(("127.0.0.1", kept.number))
