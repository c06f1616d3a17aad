"""all-MiniLM-L6-v2 as an ONNX graph, built from its published weights alone: neither torch nor transformers is needed.

The graph takes `ids` and `mask` (int64 [texts, pieces], mask 1 for a piece and 0 for padding) and gives `vector` (float32
[texts, 384], L2-normalised means over the pieces). The architecture is BERT's (Devlin et al. 2018, arXiv 1810.04805) with
the sizes of the weights themselves; the number of heads is the one figure they do not tell.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

# config.json of sentence-transformers/all-MiniLM-L6-v2: num_attention_heads, layer_norm_eps.
HEADS, EPSILON = 12, 1e-12
# Masked pieces get this much attention before the softmax; float16 and float32 hold it.
_MASKED = -10_000.0
# Gelu became an operator of its own with this version.
_OPSET = 20
_IR_VERSION = 10

Weights = Mapping[str, NDArray[np.float32]]


class _Graph:
    """Nodes and constants as they are added; every method returns the name of its result."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:  # what an ONNX attribute may be
        output = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def linear(self, name: str, value: str, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> str:
        product = self.add("MatMul", value, self.constant(f"{name}.weight", weight.T))
        return self.add("Add", product, self.constant(f"{name}.bias", bias))

    def normalised(self, name: str, value: str, weights: Weights) -> str:
        scale = self.constant(f"{name}.weight", weights[f"{name}.weight"])
        shift = self.constant(f"{name}.bias", weights[f"{name}.bias"])
        return self.add("LayerNormalization", value, scale, shift, axis=-1, epsilon=EPSILON)


def bert_graph(weights: Weights, heads: int = HEADS) -> onnx.ModelProto:
    """The float32 graph of a BERT encoder with mean pooling.

    Args:
        weights: the tensors by their published names (`embeddings.word_embeddings.weight`, ...).
        heads: how many attention heads each layer has.

    Raises:
        KeyError: a tensor is missing.
    """
    graph = _Graph()
    width = weights["embeddings.word_embeddings.weight"].shape[1]
    layers = 1 + max(int(name.split(".")[2]) for name in weights if name.startswith("encoder.layer."))
    graph.constant("split_heads", np.array([0, 0, heads, width // heads]))
    graph.constant("join_heads", np.array([0, 0, width]))
    graph.constant("scale", np.array(np.sqrt(width // heads), np.float32))
    hidden = _embeddings(graph, weights)
    bias = _attention_bias(graph)
    for layer in range(layers):
        hidden = _layer(graph, weights, f"encoder.layer.{layer}", hidden, bias)
    _pooled(graph, hidden)
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["texts", "pieces"])
    mask = helper.make_tensor_value_info("mask", TensorProto.INT64, ["texts", "pieces"])
    vector = helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["texts", width])
    inner = helper.make_graph(graph.nodes, "sentence_encoder", [ids, mask], [vector], graph.constants)
    model = helper.make_model(inner, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    onnx.checker.check_model(model)
    return model


def build_teacher(weights: Path, path: Path) -> None:
    """Writes the float32 graph (90 MB) of the weights in a safetensors file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bert_graph(load_file(weights)).SerializeToString())


def build_int8(weights: Path, path: Path) -> None:
    """Writes the graph with int8 weights and activations quantised as they come (23 MB), a third of float32's time."""
    # Not at the head of the file: it takes a second, and teaching does without.
    from onnxruntime.quantization import QuantType, quantize_dynamic  # noqa: PLC0415

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "float32.onnx"
        build_teacher(weights, whole)
        # Seven bits: without VNNI the processor's 16-bit sums of eight-bit products would overflow.
        # It advises a preparation for images, in a line that would only puzzle.
        logging.disable(logging.WARNING)
        try:
            quantize_dynamic(whole, path, per_channel=True, reduce_range=True, weight_type=QuantType.QInt8)
        finally:
            logging.disable(logging.NOTSET)


def _embeddings(graph: _Graph, weights: Weights) -> str:
    pieces = graph.add("Gather", graph.constant("pieces", weights["embeddings.word_embeddings.weight"]), "ids")
    # The type of a text's pieces is always 0, so its row may join the positions'.
    places = weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
    length = graph.add("Gather", graph.add("Shape", "ids"), graph.constant("one", np.array([1])))
    start = graph.constant("start", np.array([0]))
    places_used = graph.add("Slice", graph.constant("places", places), start, length)
    return graph.normalised("embeddings.LayerNorm", graph.add("Add", pieces, places_used), weights)


def _attention_bias(graph: _Graph) -> str:
    """0 for pieces, a large negative number for padding, [texts, 1, 1, pieces]."""
    mask = graph.add("Cast", "mask", to=TensorProto.FLOAT)
    away = graph.add("Sub", graph.constant("kept", np.array(1, np.float32)), mask)
    bias = graph.add("Mul", away, graph.constant("masked", np.array(_MASKED, np.float32)))
    return graph.add("Unsqueeze", bias, graph.constant("middle", np.array([1, 2])))


def _layer(graph: _Graph, weights: Weights, name: str, hidden: str, bias: str) -> str:
    def projected(part: str, value: str) -> str:
        return graph.linear(f"{name}.{part}", value, weights[f"{name}.{part}.weight"], weights[f"{name}.{part}.bias"])

    def split(part: str, order: tuple[int, ...]) -> str:
        heads = graph.add("Reshape", projected(f"attention.self.{part}", hidden), "split_heads")
        return graph.add("Transpose", heads, perm=order)

    query, key, value = split("query", (0, 2, 1, 3)), split("key", (0, 2, 3, 1)), split("value", (0, 2, 1, 3))
    scores = graph.add("Add", graph.add("Div", graph.add("MatMul", query, key), "scale"), bias)
    seen = graph.add("MatMul", graph.add("Softmax", scores, axis=-1), value)
    joined = graph.add("Reshape", graph.add("Transpose", seen, perm=(0, 2, 1, 3)), "join_heads")
    attended = graph.add("Add", projected("attention.output.dense", joined), hidden)
    attended = graph.normalised(f"{name}.attention.output.LayerNorm", attended, weights)
    widened = graph.add("Gelu", projected("intermediate.dense", attended))
    narrowed = graph.add("Add", projected("output.dense", widened), attended)
    return graph.normalised(f"{name}.output.LayerNorm", narrowed, weights)


def _pooled(graph: _Graph, hidden: str) -> None:
    """The mean over the pieces that are not padding, as a unit vector; a sum would do, were it not for readers."""
    mask = graph.add("Unsqueeze", graph.add("Cast", "mask", to=TensorProto.FLOAT), graph.constant("last", np.array([2])))
    over_pieces = graph.constant("over_pieces", np.array([1]))
    total = graph.add("ReduceSum", graph.add("Mul", hidden, mask), over_pieces, keepdims=0)
    mean = graph.add("Div", total, graph.add("ReduceSum", mask, over_pieces, keepdims=0))
    graph.nodes.append(helper.make_node("LpNormalization", [mean], ["vector"], axis=-1, p=2))
