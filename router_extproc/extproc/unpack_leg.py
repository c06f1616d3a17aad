"""The attempt leg that unpacks: an answer which its provider compressed although it was asked not to becomes plain.

Envoy starts it for such answers alone. Whatever reads answers stands behind it: the judging leg, the check that a stream
was complete, the token counts.
"""

from __future__ import annotations

from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingRequest

from router_extproc.extproc.compression import GzipReader
from router_extproc.extproc.messages import encode_response_body, encode_response_headers


class UnpackLeg:
    """The conversation about one compressed answer. An answer that cannot be unpacked breaks off."""

    def __init__(self) -> None:
        self._reader = GzipReader()

    def receive(self, message: ProcessingRequest) -> bytes:
        """Takes one message of the answer and returns what is due for it.

        Raises:
            UnreadableError: the bytes are not gzip, or stand for more than any answer.
        """
        if message.WhichOneof("request") == "response_headers":
            return encode_response_headers(remove=("content-encoding", "content-length"))
        return encode_response_body(self._reader.read(message.response_body.body))
