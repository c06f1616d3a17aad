"""The workers' own figures, which each writes to ``counters/worker-N.json`` once a second, as totals that only grow.

A worker that is restarted counts from zero, and while the old process drains, both write the same file: so figures are
kept for each process and added up.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import msgspec

from router_extproc.telemetry.worker_figures import WorkerFigures

# Figures of now (not totals) are those of processes that wrote within this time.
_FRESH_SECONDS = 5.0
# More processes than ever write one file at once; older ones have ended, and their totals stand.
_MOST_PROCESSES = 8
_MOST_NAMES = 64
_NAME = re.compile(r"worker-(\d{1,3})\.json")


class WorkerTotals(WorkerFigures):
    """Sums over all processes that ever were worker N, and the figures of now of those that live."""

    def add_totals(self, figures: WorkerFigures) -> None:
        """Adds what only grows."""
        self.decided += figures.decided
        self.failed += figures.failed
        self.attempt_leg += figures.attempt_leg
        self.decision_seconds_sum += figures.decision_seconds_sum
        self.analysis.add_all(figures.analysis)
        self.admissions.add_all(figures.admissions)
        _add_by_name(self.refused, figures.refused)
        _add_by_name(self.analysis_failures, figures.analysis_failures)

    def add_figures_of_now(self, figures: WorkerFigures) -> None:
        """Adds what goes up and down."""
        self.streams += figures.streams
        self.in_flight_bytes += figures.in_flight_bytes
        self.rss_bytes += figures.rss_bytes


def _add_by_name(totals: dict[str, int], more: Mapping[str, int]) -> None:
    for name, count in more.items():
        known = name if name in totals or len(totals) < _MOST_NAMES else "other"
        totals[known] = totals.get(known, 0) + count


class WorkerCounters:
    """Reads the files in ``folder``; ``totals`` are by worker index."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ended: dict[int, WorkerTotals] = {}
        self._processes: dict[int, OrderedDict[int, tuple[float, WorkerFigures]]] = {}

    def refresh(self, now: float) -> None:
        """Reads every file once. One that is missing, half gone or no JSON is left for the next time."""
        try:
            paths = list(self._folder.iterdir())
        except FileNotFoundError:
            return
        for path in paths:
            match = _NAME.fullmatch(path.name)
            if match is None:
                continue
            try:
                figures = msgspec.json.decode(path.read_bytes(), type=WorkerFigures)
                written_at = path.stat().st_mtime
            except (OSError, msgspec.DecodeError):
                continue
            self.take(int(match[1]), figures, min(written_at, now))

    def take(self, index: int, figures: WorkerFigures, written_at: float) -> None:
        """Takes the newest figures of a process that is worker ``index``."""
        processes = self._processes.setdefault(index, OrderedDict())
        last = processes.get(figures.pid)
        if last is not None and figures.decided < last[1].decided:
            # The same process id again, in a new container for example.
            self._ended.setdefault(index, WorkerTotals()).add_totals(last[1])
        processes[figures.pid] = written_at, figures
        processes.move_to_end(figures.pid)
        if len(processes) > _MOST_PROCESSES:
            _, (_, oldest) = processes.popitem(last=False)
            self._ended.setdefault(index, WorkerTotals()).add_totals(oldest)

    def totals(self, now: float) -> dict[int, WorkerTotals]:
        """The figures by worker index; ``now`` is in epoch seconds."""
        return {index: self._total(index, now) for index in sorted(self._processes)}

    def _total(self, index: int, now: float) -> WorkerTotals:
        total = WorkerTotals()
        ended = self._ended.get(index)
        if ended is not None:
            total.add_totals(ended)
        for written_at, figures in self._processes[index].values():
            total.add_totals(figures)
            if now - written_at < _FRESH_SECONDS:
                total.add_figures_of_now(figures)
        return total
