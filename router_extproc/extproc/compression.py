"""Unpacking an answer that a provider compressed although it was asked not to."""

from __future__ import annotations

import zlib

# zlib's own word for "gzip framing, largest window".
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
MOST_PLAIN_BYTES = 64 << 20
"""Envoy holds no larger answer either: little that stands for very much more is an attack, or broken."""


class UnreadableError(Exception):
    """The bytes are no gzip, or stand for more than any answer."""


class GzipReader:
    """Reads a gzip stream, however it is cut into pieces; what follows its end is not read."""

    def __init__(self, most_bytes: int = MOST_PLAIN_BYTES) -> None:
        self._decompressor = zlib.decompressobj(_GZIP_WINDOW)
        self._left = most_bytes

    def read(self, piece: bytes) -> bytes:
        """The plain bytes that this piece adds.

        Raises:
            UnreadableError: see there.
        """
        try:
            # One more than may be: whoever reaches it stands for more.
            plain = self._decompressor.decompress(piece, self._left + 1)
        except zlib.error as error:
            raise UnreadableError(str(error)) from error
        self._left -= len(plain)
        if self._left < 0:
            raise UnreadableError("more than any answer")
        return plain
