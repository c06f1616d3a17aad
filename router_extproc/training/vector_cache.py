"""Vectors of texts, kept on the disk: what was computed once, for whatever purpose, is not computed again.

A part is a file of up to 4,096 texts' vectors; an interrupted run loses at most the part it was at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from router_extproc.training.progress import Progress

_PART = 4096
_DIGEST_BYTES = 16

Encode = Callable[[Sequence[str]], NDArray[np.float32]]


class VectorCache:
    """The vectors of one encoder, by text. ``folder`` holds the parts; another encoder needs another folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places: dict[bytes, tuple[int, int]] = {}
        self._parts: list[NDArray[np.float16]] = []
        for path in sorted(folder.glob("*.npz")):
            with np.load(path) as part:
                self._add(part["digests"], part["vectors"])

    def vectors(self, texts: Sequence[str], encode: Encode, progress: Progress) -> NDArray[np.float16]:
        """One row a text, float16 [n, dimensions]; those not known yet are computed by ``encode`` and kept."""
        digests = [_digest(text) for text in texts]
        missing = {digest: text for digest, text in zip(digests, texts, strict=True) if digest not in self._places}
        # By length, so that little padding is computed.
        wanted = sorted(missing.items(), key=lambda item: (len(item[1]), item[1]))
        with progress.counting("teacher's vectors", len(wanted)) as advance:
            for start in range(0, len(wanted), _PART):
                part = wanted[start : start + _PART]
                self._keep([digest for digest, _ in part], encode([text for _, text in part]).astype(np.float16))
                advance(len(part))
        if not texts:
            return np.zeros((0, 0), np.float16)
        found = np.empty((len(texts), self._parts[0].shape[1]), np.float16)
        for row, digest in enumerate(digests):
            part_number, place = self._places[digest]
            found[row] = self._parts[part_number][place]
        return found

    def _keep(self, digests: list[bytes], vectors: NDArray[np.float16]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        table = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, _DIGEST_BYTES)
        path = self._folder / f"{hashlib.sha256(table.tobytes()).hexdigest()[:32]}.npz"
        # Renamed when whole: a part that was cut off is never read.
        written = path.with_suffix(".part")
        with written.open("wb") as file:
            np.savez(file, digests=table, vectors=vectors)
        written.replace(path)
        self._add(table, vectors)

    def _add(self, digests: NDArray[np.uint8], vectors: NDArray[np.float16]) -> None:
        for place, digest in enumerate(digests):
            self._places[digest.tobytes()] = (len(self._parts), place)
        self._parts.append(vectors)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).digest()
