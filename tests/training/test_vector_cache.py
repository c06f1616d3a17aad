"""The cache of vectors: each text is computed once, in whatever company it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from router_extproc.training import vector_cache
from router_extproc.training.progress import SilentProgress
from router_extproc.training.vector_cache import VectorCache


class Counting:
    """Encodes a text as its length and its first letter, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.asked += texts
        return np.array([[len(text), ord(text[:1] or "-")] for text in texts], np.float32)


def test_each_text_is_computed_once_and_found_again(tmp_path: Path) -> None:
    """Rows come in the order of the texts, repeated ones too; a later run computes only what is new."""
    encode = Counting()
    rows = VectorCache(tmp_path).vectors(["ccc", "a", "ccc", "bb"], encode, SilentProgress())
    assert rows[:, 0].tolist() == [3, 1, 3, 2]
    assert sorted(encode.asked) == ["a", "bb", "ccc"]
    later = Counting()
    rows = VectorCache(tmp_path).vectors(["dddd", "bb"], later, SilentProgress())
    assert rows[:, 0].tolist() == [4, 2]
    assert later.asked == ["dddd"]


def test_an_interrupted_run_keeps_its_finished_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was computed before the interruption is not computed again, and what was half written is never read."""
    monkeypatch.setattr(vector_cache, "_PART", 2)
    encode = Counting()

    def until_interrupted(texts: Sequence[str]) -> NDArray[np.float32]:
        if encode.asked:
            raise KeyboardInterrupt
        return encode(texts)

    with pytest.raises(KeyboardInterrupt):
        VectorCache(tmp_path).vectors(["a", "bb", "ccc"], until_interrupted, SilentProgress())
    (tmp_path / "half.part").write_bytes(b"half")
    later = Counting()
    VectorCache(tmp_path).vectors(["a", "bb", "ccc"], later, SilentProgress())
    assert (encode.asked, later.asked) == (["a", "bb"], ["ccc"])


def test_nothing_asked_is_nothing_computed(tmp_path: Path) -> None:
    """An empty list has no rows, and leaves no file."""
    encode = Counting()
    assert len(VectorCache(tmp_path / "cache").vectors([], encode, SilentProgress())) == 0
    assert encode.asked == []
    assert not (tmp_path / "cache").exists()
