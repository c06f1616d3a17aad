"""What turns bodies into analyses: the classifier, a clock, and what one configuration adds to both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from router_extproc.analysis.analysis import RequestAnalysis
from router_extproc.analysis.classifier import NOTHING_LEARNED, Classifier
from router_extproc.analysis.configured import NOTHING_CONFIGURED, Configured


def no_clock() -> float:
    """Time stands still: for whoever does not ask how long things took."""
    return 0.0


@dataclass(frozen=True, slots=True)
class Analyser:
    """Made once for a configuration. ``clock`` counts seconds; without one every fact takes none."""

    classifier: Classifier = NOTHING_LEARNED
    clock: Callable[[], float] = no_clock
    configured: Configured = NOTHING_CONFIGURED

    def analyse(self, body: bytes) -> RequestAnalysis:
        """The analysis of one body, of which nothing is worked out yet."""
        return RequestAnalysis(body, self)
