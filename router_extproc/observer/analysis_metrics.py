"""What analysis came to: how `auto` chose, and whose texts it did not understand."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

from router_extproc.observer.analysis_labels import abstentions, read_choice
from router_extproc.observer.records import DecisionRecord


class AnalysisMetrics:
    """The figures, in the observer's registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._choices = Counter(
            "router_analysis_choices_total",
            "Requests to `auto` by the tier that was chosen for them and what decided it.",
            ("tier", "because"),
            registry=registry,
        )
        self._abstentions = Counter(
            "router_analysis_abstentions_total",
            "Requests for which a stronger model was asked because their text is unlike what the classifier knows.",
            ("why",),
            registry=registry,
        )

    def decision(self, record: DecisionRecord, tier: str) -> None:
        """Counts one request; ``tier`` is the label of the model that answered."""
        choice = read_choice(record.reason or "", tier)
        if choice is not None:
            self._choices.labels(*choice).inc()
        for why in abstentions(record.signals):
            self._abstentions.labels(why).inc()
