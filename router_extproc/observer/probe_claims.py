"""The files by which workers claim probes: each is needed only as long as some decider may still see its probe."""

from __future__ import annotations

from pathlib import Path

CLAIM_SECONDS = 300.0


def forget_claims(folder: Path, now: float) -> None:
    """Deletes claims older than ``CLAIM_SECONDS``: a probe without result is replaced long before. ``now`` is epoch seconds."""
    try:
        claims = list(folder.iterdir())
    except FileNotFoundError:
        return
    for claim in claims:
        try:
            if now - claim.stat().st_mtime > CLAIM_SECONDS:
                claim.unlink()
        except FileNotFoundError:
            continue
