"""Distils the static encoder: a table of word-piece vectors whose sum is what the teacher's vector of the text would be.

The table starts as the teacher's own word pieces, weighted by smooth inverse frequency (Arora et al. 2017), and is trained
with Adam on two losses at once: the cosine with the teacher's vector, and a softmax over the batch that must tell a
text's own teacher vector from the others' as sharply as the teacher does. Only numpy and scipy are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from scipy.sparse import csr_matrix

from router_extproc.analysis.encoders.static import SCALE_FILE, TABLE_FILE, VOCABULARY_FILE, StaticEncoder
from router_extproc.analysis.wordpiece import Vocabulary
from router_extproc.training.pipeline import Context, Metrics
from router_extproc.training.progress import Progress
from router_extproc.training.teacher import model_folder, teacher_vectors, teaching_texts

# As many pieces of a text count as the teacher reads.
_PIECES = 126
EPOCHS, BATCH = 6, 1024
LEARNING_RATE, WARM_UP, LAST_SHARE = 1.5e-3, 30, 0.02
TEMPERATURE = 0.05
# What the softmax's loss counts beside the cosine's.
CONTRAST = 3.0
_DECAY, _SQUARE_DECAY, _STABLE = 0.9, 0.999, 1e-8
# Smooth inverse frequency: pieces rarer than this share of all count fully.
_RARE = 1e-3
# Texts about anything whose vectors fitted thresholds are set against, and where they are drawn from.
BACKGROUND = {"category": 300, "justeval": 150, "arena_hard": 150, "sentences": 400}
_LARGEST_INT8 = 127

Table = NDArray[np.float32]


class Bags:
    """The word pieces of many texts."""

    def __init__(self, texts: Sequence[str], vocabulary: Vocabulary) -> None:
        self.parts = [np.array(vocabulary.ids(text)[:_PIECES], np.int32) for text in texts]
        self.filled = np.flatnonzero([len(part) for part in self.parts])

    def batch(self, rows: NDArray[np.intp]) -> tuple[csr_matrix, NDArray[np.int32]]:
        """How often each text holds each piece, and which pieces the columns are."""
        parts = [self.parts[row] for row in rows]
        pieces, columns = np.unique(np.concatenate(parts), return_inverse=True)
        bounds = np.cumsum([0, *map(len, parts)])
        counts = csr_matrix((np.ones(len(columns), np.float32), columns, bounds), shape=(len(rows), len(pieces)))
        return counts, pieces


def train(context: Context) -> Metrics:
    """Writes the vocabulary, the table, and the background vectors of both encoders; returns how near the teacher it is."""
    source = model_folder()
    vocabulary = Vocabulary.load(source / "vocab.txt")
    (context.out / VOCABULARY_FILE).write_bytes((source / "vocab.txt").read_bytes())
    texts = teaching_texts(context, vocabulary)
    teacher = teacher_vectors(context, vocabulary, texts)
    bags = Bags(texts, vocabulary)
    pieces = load_file(source / "model.safetensors")["embeddings.word_embeddings.weight"]
    table = distilled(weighted(pieces, bags), bags, teacher, random=context.random("distil"), progress=context.progress)
    write_table(table, context.out)
    encoder = StaticEncoder.load(context.out)
    background = _background(context)
    _write_background(context.out / "background_static.npy", encoder.encode(background))
    _write_background(context.out / "background_minilm.npy", teacher_vectors(context, vocabulary, background))
    return {"texts": len(texts), "pieces_seen": len(np.unique(np.concatenate(bags.parts))), "epochs": EPOCHS}


def weighted(pieces: Table, bags: Bags) -> Table:
    """The teacher's word pieces, their mean removed, by smooth inverse frequency; rows have length 1 on average."""
    counts = np.bincount(np.concatenate(bags.parts), minlength=len(pieces)) + 1.0
    share = (counts / counts.sum())[:, None]
    table = (pieces - (share * pieces).sum(axis=0)) * (_RARE / (_RARE + share))
    return np.asarray(table / np.linalg.norm(table, axis=1).mean(), np.float32)


def distilled(
    table: Table,
    bags: Bags,
    teacher: NDArray[np.float16],
    *,
    random: np.random.Generator,
    progress: Progress,
    epochs: int = EPOCHS,
) -> Table:
    """The table after training.

    Args:
        table: what to start from, [pieces, dimensions]; not changed.
        bags: the texts.
        teacher: their vectors by the teacher, [texts, dimensions].
        random: the order of the texts.
        progress: where the epochs are counted.
        epochs: how often each text is seen.
    """
    table, first, second = table.copy(), np.zeros_like(table), np.zeros_like(table)
    size = min(BATCH, len(bags.filled))
    steps, step = epochs * (len(bags.filled) // size), 0
    with progress.counting("static table", steps) as advance:
        for _ in range(epochs):
            order = random.permutation(bags.filled)
            for start in range(0, len(order) - size + 1, size):
                rows, step = order[start : start + size], step + 1
                counts, pieces = bags.batch(rows)
                gradient = counts.T @ _gradient(counts @ table[pieces], teacher[rows].astype(np.float32)) / np.float32(size)
                # Adam (Kingma and Ba 2015), on the rows that the batch holds alone.
                first[pieces] = _DECAY * first[pieces] + (1 - _DECAY) * gradient
                second[pieces] = _SQUARE_DECAY * second[pieces] + (1 - _SQUARE_DECAY) * gradient**2
                rate = LEARNING_RATE * max(1 - step / steps, LAST_SHARE) * min(1.0, step / WARM_UP)
                root = np.sqrt(second[pieces] / (1 - _SQUARE_DECAY**step)) + _STABLE
                table[pieces] -= rate * (first[pieces] / (1 - _DECAY**step)) / root
                advance(1)
    return table


def _gradient(sums: Table, teacher: Table) -> Table:
    """Of both losses, with respect to the sums of the rows, for each text of a batch."""
    lengths = np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-6)
    vectors = sums / lengths
    surplus = _softmax(vectors @ teacher.T / TEMPERATURE) - _softmax(teacher @ teacher.T / TEMPERATURE)
    wanted = CONTRAST * (surplus @ teacher) - teacher
    # What changes a vector's length alone changes nothing.
    turned: Table = (wanted - vectors * (wanted * vectors).sum(axis=1, keepdims=True)) / lengths
    return turned


def _softmax(values: Table) -> Table:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    shares: Table = powers / powers.sum(axis=1, keepdims=True)
    return shares


def write_table(table: Table, folder: Path) -> None:
    """Writes the table as int8 rows with a float32 scale each, which loses nothing that can be measured."""
    scale = np.maximum(np.abs(table).max(axis=1), 1e-9) / _LARGEST_INT8
    np.save(folder / TABLE_FILE, np.round(table / scale[:, None]).astype(np.int8))
    np.save(folder / SCALE_FILE, scale.astype(np.float32))


def _background(context: Context) -> list[str]:
    random = context.random("background")
    chosen: list[str] = []
    for name, wanted in BACKGROUND.items():
        texts = sorted({text.strip() for text in context.texts(name)} - {""})
        chosen += [texts[place] for place in random.permutation(len(texts))[:wanted]]
    return chosen


def _write_background(path: Path, vectors: NDArray[np.floating]) -> None:
    """As int8: all that is asked of them is a quantile of similarities."""
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    np.save(path, np.round(vectors / largest * _LARGEST_INT8).astype(np.int8))
