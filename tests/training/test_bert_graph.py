"""The transformer's graph, against the same arithmetic in numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("safetensors")

from safetensors.numpy import save_file  # noqa: E402 - after the libraries that may be missing

from router_extproc.training.bert_graph import bert_graph, build_int8, build_teacher  # noqa: E402 - the same
from tests.training import tiny_bert  # noqa: E402 - the same


def _run(model: bytes | str, texts: list[list[int]]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    ids = np.zeros((len(texts), max(map(len, texts))), np.int64)
    mask = np.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text)], mask[row, : len(text)] = text, 1
    found: np.ndarray[tuple[int, int], np.dtype[np.float32]] = session.run(None, {"ids": ids, "mask": mask})[0]
    return found


def test_the_graph_computes_what_bert_computes() -> None:
    """Vectors equal those of the paper's formulas in numpy, for texts of any length."""
    weights = tiny_bert.weights()
    model = bert_graph(weights, heads=tiny_bert.HEADS).SerializeToString()
    for text in ([1], [1, 5, 9, 2], list(range(tiny_bert.PLACES))):
        np.testing.assert_allclose(_run(model, [text])[0], tiny_bert.vector(weights, text), atol=2e-5)


def test_padding_changes_nothing() -> None:
    """A short text beside a long one has the vector it has alone."""
    weights = tiny_bert.weights(1)
    model = bert_graph(weights, heads=tiny_bert.HEADS).SerializeToString()
    together = _run(model, [[3, 4, 5], list(range(12))])
    np.testing.assert_allclose(together[0], tiny_bert.vector(weights, [3, 4, 5]), atol=2e-5)


def test_a_missing_tensor_is_named() -> None:
    """Weights of another model fail when the graph is built, naming what is missing."""
    weights = tiny_bert.weights()
    del weights["encoder.layer.1.output.dense.bias"]
    with pytest.raises(KeyError, match=r"encoder\.layer\.1\.output\.dense\.bias"):
        bert_graph(weights, heads=tiny_bert.HEADS)


def test_int8_stays_close_to_float32(tmp_path: Path) -> None:
    """The quantised file gives nearly the same vectors as the whole one."""
    # The file's reader takes the published number of heads, so the width must be divisible by it.
    weights = {name: np.repeat(value, 3, axis=-1) for name, value in tiny_bert.weights(2).items()}
    weights = {
        name: np.repeat(value, 3, axis=0) if value.ndim == 2 and "embeddings" not in name else value
        for name, value in weights.items()
    }
    save_file(weights, tmp_path / "model.safetensors")
    build_teacher(tmp_path / "model.safetensors", tmp_path / "float32.onnx")
    build_int8(tmp_path / "model.safetensors", tmp_path / "deeper" / "int8.onnx")
    texts = [[1, 7, 3], [4, 20, 11]]
    whole, small = (_run(str(tmp_path / name), texts) for name in ("float32.onnx", "deeper/int8.onnx"))
    assert (whole * small).sum(axis=1).min() > 0.97
