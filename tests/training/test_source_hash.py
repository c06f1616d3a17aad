"""The hash of a stage's code: what must change it, and what must not."""

from __future__ import annotations

from pathlib import Path

import pytest

from router_extproc.training import source_hash as hashing
from router_extproc.training.source_hash import source_hash

PACKAGE = "router_extproc.training"


def hash_with(monkeypatch: pytest.MonkeyPatch, folder: Path, sources: dict[str, str]) -> str:
    """The hash of ``head`` in a package of these sources."""
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(source)

    def file_of(module: str) -> Path | None:
        path = folder / f"{module.removeprefix(PACKAGE).lstrip('.')}.py"
        return path if path.exists() else None

    monkeypatch.setattr(hashing, "_file_of", file_of)
    return source_hash(f"{PACKAGE}.head")


def test_a_change_in_what_a_module_imports_changes_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head is trained anew when the features it is built on change, however far below they are."""
    sources = {
        "head": f"from {PACKAGE} import features",
        "features": f"import {PACKAGE}.letters",
        "letters": "A = 1",
        "stranger": "B = 1",
    }
    first = hash_with(monkeypatch, tmp_path, sources)
    assert hash_with(monkeypatch, tmp_path, {**sources, "letters": "A = 2"}) != first


def test_a_change_elsewhere_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that a head never imports does not make it train again."""
    sources = {"head": "import numpy", "stranger": "B = 1"}
    first = hash_with(monkeypatch, tmp_path, sources)
    assert hash_with(monkeypatch, tmp_path, {**sources, "stranger": "B = 2"}) == first
