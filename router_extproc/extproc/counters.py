"""What one worker counts, written to a file each second for the observer to show."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import msgspec

from router_extproc.extproc.route_leg import Outcome
from router_extproc.facts import Signal
from router_extproc.telemetry.worker_figures import WorkerFigures

_PAGE = resource.getpagesize()


def is_failure(signal: Signal) -> bool:
    """Whether an error came in place of the fact; ``RequestAnalysis.signals`` says so in words."""
    return isinstance(signal.value, str) and signal.value.startswith("failed: ")


class Counters(WorkerFigures):
    """The figures of this process."""

    def count(self, outcome: Outcome) -> None:
        """Adds one ended route leg."""
        self.decided += outcome.decided
        if outcome.refused is not None:
            self.refused[outcome.refused] = self.refused.get(outcome.refused, 0) + 1
        self.decision_seconds_sum += outcome.seconds
        if outcome.signals:
            self.analysis.add(sum(signal.milliseconds for signal in outcome.signals) / 1_000)
        if outcome.is_cut_short:
            self._count_analysis_failure("deadline")
        elif any(is_failure(signal) for signal in outcome.signals):
            self._count_analysis_failure("error")

    def _count_analysis_failure(self, reason: str) -> None:
        self.analysis_failures[reason] = self.analysis_failures.get(reason, 0) + 1

    def write(self, path: Path) -> None:
        """Replaces the file by the figures of now.

        Raises:
            OSError: it cannot be written.
        """
        self.pid = os.getpid()
        self.rss_bytes = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_bytes(msgspec.json.encode(self))
        temporary.replace(path)
