"""The stages of training, in order, and the reports of evaluation: one line a head.

A stage's module offers ``train(context)``, a report's ``report(context, artefact)``.
"""

from __future__ import annotations

from router_extproc.training.pipeline import Stage

_HERE = "router_extproc.training"

# The teacher's vectors of all training texts come first: they are the dearest step, and only distillation needs them.
STAGES = (
    Stage("encoder", f"{_HERE}.distil"),
    Stage("routing", f"{_HERE}.routing", after=("encoder",)),
    Stage("tasks", f"{_HERE}.tasks", after=("encoder",)),
    Stage("risk", f"{_HERE}.risk", after=("encoder",)),
    Stage("injection", f"{_HERE}.injection", after=("encoder",)),
)

REPORTS = {
    "routing": f"{_HERE}.routing_report",
    "tasks": f"{_HERE}.task_report",
    "injection": f"{_HERE}.injection_report",
    "encoder": f"{_HERE}.encoder_report",
    "latency": f"{_HERE}.latency_report",
}
