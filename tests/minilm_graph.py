"""The graph of the encoder `minilm` for tests that need it: it is built from weights that may not be there."""

from __future__ import annotations

from pathlib import Path

import pytest

from router_extproc.analysis.encoders.minilm import GRAPH_FILE
from router_extproc.errors import TrainingError


def build_graph_or_skip(folder: Path) -> Path:
    """The graph in a folder, built as `router-extproc train --minilm` does; without the weights the test is skipped."""
    for library in ("onnx", "safetensors"):
        pytest.importorskip(library, reason=f"NO {library}: pip install 'router-extproc[minilm]'")
    from router_extproc.training.bert_graph import build_int8  # noqa: PLC0415 - libraries that may be missing
    from router_extproc.training.teacher import model_folder  # noqa: PLC0415 - the same

    try:
        weights = model_folder() / "model.safetensors"
    except TrainingError as missing:
        pytest.skip(f"NO WEIGHTS: {missing}")
    graph = folder / GRAPH_FILE
    build_int8(weights, graph)
    return graph
