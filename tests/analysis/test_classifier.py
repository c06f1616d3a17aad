"""The classifier as it is loaded from an artefact."""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router_extproc.analysis.analyser import Analyser
from router_extproc.analysis.classifier import NOTHING_LEARNED, Classifier
from router_extproc.analysis.location import artefact_folder
from router_extproc.facts import facts_of
from router_extproc.registry.snapshot import RISKS


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


@pytest.fixture(scope="module")
def shipped() -> Analyser:
    return Analyser(Classifier.load(artefact_folder(os.environ)))


_SAID = st.text() | st.text("ab \n`{}1?.é中") | st.binary().map(lambda raw: raw.decode("utf-8", "replace"))
_CONTENT = _SAID | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": _SAID}), max_size=2) | st.none()
_MESSAGE = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system", "tool", "?"]), "content": _CONTENT})


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(messages=st.lists(_MESSAGE, max_size=4))
def test_no_conversation_makes_a_reader_fail(shipped: Analyser, messages: list[dict[str, object]]) -> None:
    """Whatever is said, by whom, and in which characters: every fact is answered, within its bounds."""
    analysis = shipped.analyse(json.dumps({"model": "auto", "messages": messages}).encode())
    found = facts_of(analysis)
    assert not [signal for signal in analysis.signals() if str(signal.value).startswith("failed: ")]
    if found.adequacy is not None:
        assert 0 <= found.adequacy[0] <= found.adequacy[1] <= found.adequacy[2] <= 1
        assert found.needs_strong == pytest.approx(1 - found.adequacy[0])
        assert found.complexity in range(11)
        assert found.risk in {*RISKS, "none"}
        assert all(0 <= score <= 1 for score in found.tasks.values())
    assert found.injection is None or 0 <= found.injection <= 1
    assert json.loads(msgspec.json.encode(analysis.signals())) is not None


def test_nothing_learned_has_no_reader() -> None:
    """It stands for the absence of an artefact."""
    assert (NOTHING_LEARNED.encoder, NOTHING_LEARNED.routing, NOTHING_LEARNED.injection) == (None, None, None)
