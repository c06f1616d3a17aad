"""A BERT of two small layers with random weights, and what it computes, written down once more in numpy."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

WIDTH, INNER, LAYERS, HEADS, PIECES, PLACES = 8, 16, 2, 2, 30, 12


def weights(seed: int = 0) -> dict[str, Array]:
    """Random tensors under BERT's published names."""
    random = np.random.default_rng(seed)

    def tensor(*shape: int) -> Array:
        return random.normal(0, 0.5, shape).astype(np.float32)

    found = {
        "embeddings.word_embeddings.weight": tensor(PIECES, WIDTH),
        "embeddings.position_embeddings.weight": tensor(PLACES, WIDTH),
        "embeddings.token_type_embeddings.weight": tensor(2, WIDTH),
        "embeddings.LayerNorm.weight": tensor(WIDTH),
        "embeddings.LayerNorm.bias": tensor(WIDTH),
    }
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        for part, rows, columns in (
            ("attention.self.query", WIDTH, WIDTH),
            ("attention.self.key", WIDTH, WIDTH),
            ("attention.self.value", WIDTH, WIDTH),
            ("attention.output.dense", WIDTH, WIDTH),
            ("intermediate.dense", INNER, WIDTH),
            ("output.dense", WIDTH, INNER),
        ):
            found[f"{name}.{part}.weight"] = tensor(rows, columns)
            found[f"{name}.{part}.bias"] = tensor(rows)
        for part in ("attention.output.LayerNorm", "output.LayerNorm"):
            found[f"{name}.{part}.weight"] = tensor(WIDTH)
            found[f"{name}.{part}.bias"] = tensor(WIDTH)
    return found


def vector(found: dict[str, Array], ids: list[int]) -> Array:
    """The unit mean vector of one text, step by step as the paper has it."""
    length = len(ids)
    hidden = found["embeddings.word_embeddings.weight"][ids] + found["embeddings.position_embeddings.weight"][:length]
    hidden = _normalised(found, "embeddings.LayerNorm", hidden + found["embeddings.token_type_embeddings.weight"][0])
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        query, key, value = (_linear(found, f"{name}.attention.self.{part}", hidden) for part in ("query", "key", "value"))
        size = WIDTH // HEADS
        parts = []
        for head in range(HEADS):
            own = slice(head * size, (head + 1) * size)
            scores = query[:, own] @ key[:, own].T / math.sqrt(size)
            shares = np.exp(scores - scores.max(axis=1, keepdims=True))
            parts.append(shares / shares.sum(axis=1, keepdims=True) @ value[:, own])
        attended = _linear(found, f"{name}.attention.output.dense", np.concatenate(parts, axis=1)) + hidden
        attended = _normalised(found, f"{name}.attention.output.LayerNorm", attended)
        inner = _linear(found, f"{name}.intermediate.dense", attended)
        inner = 0.5 * inner * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
        hidden = _normalised(found, f"{name}.output.LayerNorm", _linear(found, f"{name}.output.dense", inner) + attended)
    mean = hidden.mean(axis=0)
    return np.asarray(mean / np.linalg.norm(mean), np.float32)


def _linear(found: dict[str, Array], name: str, value: Array) -> Array:
    return np.asarray(value @ found[f"{name}.weight"].T + found[f"{name}.bias"], np.float32)


def _normalised(found: dict[str, Array], name: str, value: Array) -> Array:
    centred = value - value.mean(axis=1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-12)
    return np.asarray(scaled * found[f"{name}.weight"] + found[f"{name}.bias"], np.float32)
