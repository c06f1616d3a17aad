"""What a provider needs that a test answers for by itself, where the simulators' faults do not say enough."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from types import MappingProxyType
from typing import Any

JSON, EVENTS = "application/json", "text/event-stream"
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Answering(BaseHTTPRequestHandler):
    """Reads requests and writes answers whole; connections are kept alive."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Reads the body of the request and has it answered."""
        self.respond(json.loads(self.rfile.read(int(self.headers["content-length"]))))

    def respond(self, body: dict[str, Any]) -> None:
        """Answers a request by ``answer``."""
        raise NotImplementedError

    def answer(self, written: bytes, media_type: str = JSON, headers: Mapping[str, str] = _NO_HEADERS) -> None:
        """Status 200 and a body."""
        self.send_response(200)
        self.send_header("content-type", media_type)
        self.send_header("content-length", str(len(written)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(written)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the library's name
        """Says nothing."""
