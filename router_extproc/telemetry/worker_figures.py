"""What a worker counts: written by each worker as ``counters/worker-N.json``, read and shown by the observer."""

from __future__ import annotations

import msgspec


class WorkerFigures(msgspec.Struct):
    """Totals since the process ``pid`` started, and below them figures of now.

    ``decision_seconds_sum`` is time spent reading, analysing and deciding. ``refused`` counts by an error's code,
    ``failed`` conversations that broke off, ``attempt_leg`` attempts that the worker took part in, ``streams`` open
    conversations.
    """

    pid: int = 0
    decided: int = 0
    refused: dict[str, int] = {}
    failed: int = 0
    attempt_leg: int = 0
    decision_seconds_sum: float = 0.0
    streams: int = 0
    in_flight_bytes: int = 0
    rss_bytes: int = 0
