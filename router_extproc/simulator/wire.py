"""HTTP/1.1 as bytes: response heads, chunks, gzip."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from functools import lru_cache
from http import HTTPStatus

LAST_CHUNK = b"0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

# 4 KiB windows: about 24 KB for each open compressed stream instead of zlib's default of 256 KB.
_STREAM_WINDOW_BITS = 16 + 12
_STREAM_MEMORY_LEVEL = 4
_GZIP_WINDOW_BITS = 16 + 15
_FASTEST = 1


@lru_cache(maxsize=512)
def status_line(status: int) -> bytes:
    """Return the first line of a response, with the reason phrase where the status has one."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


def response_head(status: int, headers: Mapping[str, str]) -> bytes:
    """Return status line, headers and the empty line after them."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    return status_line(status) + lines.encode("latin-1", "replace") + b"\r\n"


def chunk(content: bytes) -> bytes:
    """Return one chunk; the content may not be empty, since an empty chunk ends the message."""
    return b"%x\r\n%b\r\n" % (len(content), content)


def gzipped(body: bytes) -> bytes:
    """Return the whole body compressed."""
    compressor = zlib.compressobj(_FASTEST, zlib.DEFLATED, _GZIP_WINDOW_BITS)
    return compressor.compress(body) + compressor.flush()


class GzipStream:
    """Compresses a stream so that each part can be read as soon as it arrives."""

    def __init__(self) -> None:
        self._compressor = zlib.compressobj(_FASTEST, zlib.DEFLATED, _STREAM_WINDOW_BITS, _STREAM_MEMORY_LEVEL)

    def part(self, content: bytes) -> bytes:
        """Return the next part, flushed to a byte border."""
        return self._compressor.compress(content) + self._compressor.flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        """Return the trailer."""
        return self._compressor.flush()
