"""Reading along an answer that a provider compressed although it was asked not to."""

from __future__ import annotations

import zlib
from typing import Protocol

_IDENTITY = ("", "identity")
_GZIP = ("gzip", "x-gzip")
# zlib's own word for "gzip framing, largest window".
_GZIP_WINDOW = 16 + zlib.MAX_WBITS


class UnreadableError(Exception):
    """The bytes are not what ``content-encoding`` says."""


class Reader(Protocol):
    """Takes an answer piece by piece and gives back what stands in it."""

    def read(self, piece: bytes) -> bytes:
        """The plain bytes that this piece adds, at most as many as the reader was made for.

        Raises:
            UnreadableError: the piece cannot be decompressed.
        """


class PlainReader:
    """Of an answer that is not compressed."""

    def read(self, piece: bytes) -> bytes:
        """The piece itself."""
        return piece


class GzipReader:
    """Of a gzip stream, however it is cut into pieces. Nothing is expanded beyond ``most`` bytes in all."""

    def __init__(self, most: int) -> None:
        self._decompressor = zlib.decompressobj(_GZIP_WINDOW)
        self._left = most

    def read(self, piece: bytes) -> bytes:
        """What the piece adds; nothing once the bound is reached."""
        if self._left <= 0:
            return b""
        try:
            plain = self._decompressor.decompress(piece, self._left)
        except zlib.error as error:
            raise UnreadableError(str(error)) from error
        self._left -= len(plain)
        return plain


def reader_of(content_encoding: str, most: int) -> Reader | None:
    """The reader for an encoding, bound to ``most`` plain bytes; None for one that cannot be read here."""
    encoding = content_encoding.strip().lower()
    if encoding in _IDENTITY:
        return PlainReader()
    return GzipReader(most) if encoding in _GZIP else None
