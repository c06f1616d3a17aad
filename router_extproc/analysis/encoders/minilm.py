"""The `minilm` encoder: all-MiniLM-L6-v2 with int8 weights, milliseconds a text, for machines with room.

Its graph (23 MB) is built once by `router_extproc.training.bert_graph.build_int8` from the package that carries the weights
(extra `minilm`); only onnxruntime is needed to use it. Its time grows with the text, so of a long text the first and the
last pieces are read, and whether that was so can be asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from router_extproc.analysis.encoders.static import VOCABULARY_FILE
from router_extproc.analysis.window import head_and_tail
from router_extproc.analysis.wordpiece import Vocabulary

GRAPH_FILE = "minilm_int8.onnx"
# Word pieces read of a text: 64 take 7 ms on one slow core, 256 take 50. What a text is about stands at its beginning, what
# is wanted of it often at its end.
HEAD, TAIL = 48, 16
_BEGIN, _END = 101, 102


class MinilmEncoder:
    """The transformer; see the head of this file."""

    name = "minilm"
    dimensions = 384

    def __init__(self, graph: Path, vocabulary: Vocabulary) -> None:
        options = onnxruntime.SessionOptions()
        # One worker is one core; onnxruntime's own threads would take the others'.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        self._vocabulary = vocabulary

    @classmethod
    def load(cls, graph: Path, folder: Path) -> MinilmEncoder:
        """The encoder whose graph is a file of its own, with the vocabulary of an artefact's folder.

        Raises:
            FileNotFoundError: the graph has not been built; the message says how to.
        """
        if not graph.is_file():
            raise FileNotFoundError(f"{graph} is missing: build it with `router-extproc train --minilm`")
        return cls(graph, Vocabulary.load(folder / VOCABULARY_FILE))

    def truncates(self, text: str) -> bool:
        """Whether a text has more pieces than are read."""
        return len(self._vocabulary.ids(head_and_tail(text).text)) > HEAD + TAIL

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One L2-normalised row for each text, of its first and last pieces; a text without words is the zero vector."""
        rows = np.zeros((len(texts), self.dimensions), np.float32)
        for row, text in zip(rows, texts, strict=True):
            ids = self._vocabulary.ids(head_and_tail(text).text)
            if ids:
                row[:] = self._vector(ids if len(ids) <= HEAD + TAIL else ids[:HEAD] + ids[-TAIL:])
        return rows

    def _vector(self, ids: list[int]) -> NDArray[np.float32]:
        # One text at a time: rows of unequal length would be padded, and activations are quantised over the whole batch.
        pieces = np.array([[_BEGIN, *ids, _END]], np.int64)
        vector: NDArray[np.float32] = self._session.run(None, {"ids": pieces, "mask": np.ones_like(pieces)})[0][0]
        return vector
