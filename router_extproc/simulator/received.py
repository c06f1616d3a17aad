"""A request as it came over the wire."""

from __future__ import annotations

import msgspec


class ReceivedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One whole request; header names in ``headers`` are in lower case, ``raw_headers`` keeps order and case."""

    method: str
    path: str
    """Without the query; percent-encoding as it came."""
    query: str
    raw_headers: list[tuple[bytes, bytes]]
    headers: dict[bytes, bytes]
    body: bytes
    is_oversized: bool = False
    """The body was over the limit and was thrown away while it came in."""
    keep_alive: bool = True
    chunked_answer: bool = True
    """False for an HTTP/1.0 client, which knows no chunks."""

    @property
    def content_type(self) -> str:
        """The media type and its parameters, or nothing."""
        return self.headers.get(b"content-type", b"").decode("latin-1")

    @property
    def bearer_token(self) -> str:
        """The key in ``authorization``, or nothing."""
        scheme, _, token = self.headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""

    def accepts_gzip(self) -> bool:
        """Tell whether ``accept-encoding`` names gzip and does not rule it out with a zero weight (RFC 9110, 12.5.3)."""
        value = self.headers.get(b"accept-encoding")
        if value is None or b"gzip" not in value.lower():
            return False
        for coding in value.lower().split(b","):
            name, _, weight = coding.partition(b";")
            if name.strip() == b"gzip":
                return weight.replace(b" ", b"") not in {b"q=0", b"q=0.0", b"q=0.00", b"q=0.000"}
        return False
