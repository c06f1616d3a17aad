"""The stages of training, in order, and the reports of evaluation: one line a head.

A stage's module offers ``train(context)``, a report's ``report(context, artefact)``.
"""

from __future__ import annotations

import numpy as np

from router_extproc.training.decontamination import Vectors
from router_extproc.training.pipeline import Context, Stage

_HERE = "router_extproc.training"

STAGES = (
    Stage("encoder", f"{_HERE}.distil"),
    Stage("routing", f"{_HERE}.routing", after=("encoder",)),
    Stage("tasks", f"{_HERE}.tasks", after=("encoder",)),
    Stage("thought", f"{_HERE}.thought", after=("encoder",)),
    Stage("risk", f"{_HERE}.risk", after=("encoder",)),
    Stage("injection", f"{_HERE}.injection", after=("encoder",)),
)

REPORTS = {
    "routing": f"{_HERE}.routing_report",
    "tasks": f"{_HERE}.task_report",
    "risk": f"{_HERE}.risk_report",
    "injection": f"{_HERE}.injection_report",
    "encoder": f"{_HERE}.encoder_report",
    "robustness": f"{_HERE}.robustness_report",
    "latency": f"{_HERE}.latency_report",
}


def teacher_of(context: Context) -> Vectors:
    """The teacher by which meanings are compared before training; distillation finds its vectors again in the cache."""
    from router_extproc.analysis.wordpiece import Vocabulary  # noqa: PLC0415 - what follows loads onnx and the weights
    from router_extproc.training.teacher import model_folder, teacher_vectors  # noqa: PLC0415 - as above

    vocabulary = Vocabulary.load(model_folder() / "vocab.txt")
    return lambda texts: teacher_vectors(context, vocabulary, texts).astype(np.float32)
