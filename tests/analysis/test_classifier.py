"""The classifier as it is loaded from an artefact."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from router_extproc.analysis.classifier import NOTHING_LEARNED, Classifier
from router_extproc.analysis.location import artefact_folder


def test_the_artefact_is_loaded_from_its_folder() -> None:
    """The encoder that all heads share is there, and is the one that goes by its name."""
    folder = artefact_folder(os.environ)
    classifier = Classifier.load(folder)
    assert classifier.folder == folder
    assert classifier.encoder is not None
    assert classifier.encoder_named("static") is classifier.encoder


def test_an_artefact_without_an_encoder_is_none(tmp_path: Path) -> None:
    """Whoever loads it is told, and decides what then."""
    with pytest.raises(OSError, match="static"):
        Classifier.load(tmp_path)


def test_heads_that_an_artefact_lacks_are_none(tmp_path: Path) -> None:
    """The encoder alone is a classifier that knows nothing about difficulty, work or risk."""
    for path in artefact_folder(os.environ).iterdir():
        if path.name.startswith(("static", "vocabulary")):
            (tmp_path / path.name).symlink_to(path)
    classifier = Classifier.load(tmp_path)
    assert classifier.encoder is not None
    assert (classifier.routing, classifier.tasks, classifier.risk, classifier.injection) == (None, None, None, None)


def test_a_head_of_another_version_is_told(tmp_path: Path) -> None:
    """A file that lacks what this version reads is an error that names it, and no surprise later."""
    for path in artefact_folder(os.environ).iterdir():
        if path.name.startswith(("static", "vocabulary")):
            (tmp_path / path.name).symlink_to(path)
    np.savez(tmp_path / "routing.npz", something=np.zeros(1))
    with pytest.raises(ValueError, match=r"routing\.npz is of another version: it lacks"):
        Classifier.load(tmp_path)


def test_nothing_learned_has_no_reader() -> None:
    """It stands for the absence of an artefact."""
    assert (NOTHING_LEARNED.encoder, NOTHING_LEARNED.routing, NOTHING_LEARNED.injection) == (None, None, None)
