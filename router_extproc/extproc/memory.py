"""Gives the memory of large bodies back to the system."""

from __future__ import annotations

import ctypes

# malloc.h of glibc. Blocks from this size on are mapped each for itself and returned when freed; by default glibc raises
# the threshold to the largest block it has seen, and one large body would stay with the worker for ever.
_M_MMAP_THRESHOLD = -3
_THRESHOLD_BYTES = 1 << 20


def return_large_blocks() -> None:
    """Asks the C library to return large blocks as soon as they are freed; other libraries than glibc do so anyway."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _THRESHOLD_BYTES)
