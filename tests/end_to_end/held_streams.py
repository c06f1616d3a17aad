"""A provider whose streams begin and do not end before they are told to: what runs meanwhile need not be in a hurry."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class HeldStreams(ThreadingHTTPServer):
    """Use it with ``at_work``; ``open`` says how many streams are under way, ``end`` lets all of them end."""

    daemon_threads = True
    request_queue_size = 100

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Stream)
        self.host = f"http://127.0.0.1:{self.server_address[1]}"
        self.open = 0
        self.lock = threading.Lock()
        self.ended = threading.Event()

    def end(self) -> None:
        self.ended.set()

    def shutdown(self) -> None:
        self.end()
        super().shutdown()


class _Stream(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HeldStreams

    def do_POST(self) -> None:
        """A stream has one token, and the rest when it is time; a plain answer comes at once."""
        if not json.loads(self.rfile.read(int(self.headers["content-length"]))).get("stream"):
            self._answer()
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self._event({"content": "Hello"}, None)
        with self.server.lock:
            self.server.open += 1
        self.server.ended.wait(100)
        with self.server.lock:
            self.server.open -= 1
        self._event({}, "stop")
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _answer(self) -> None:
        choice = {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
        answer = {"id": "held", "object": "chat.completion", "created": 1, "model": "held", "choices": [choice]}
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _event(self, delta: dict[str, str], finish_reason: str | None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        event = {"id": "held", "object": "chat.completion.chunk", "created": 1, "model": "held", "choices": [choice]}
        self._chunk(b"data: " + json.dumps(event).encode() + b"\n\n")

    def _chunk(self, content: bytes) -> None:
        self.wfile.write(f"{len(content):x}\r\n".encode() + content + b"\r\n")

    def log_message(self, *_: object) -> None:
        """Says nothing."""
