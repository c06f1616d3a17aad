"""The classifier of a worker: loaded and exercised once; without one a worker still starts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from router_extproc.analysis.classifier import NOTHING_LEARNED, Classifier
from router_extproc.analysis.location import ENVIRONMENT_VARIABLE
from router_extproc.extproc.deadline import DeadlinePassedError
from router_extproc.extproc.learned import START_SECONDS, exercise, load_classifier

FILES = ("static_table.npy", "static_scale.npy", "vocabulary.txt")


@pytest.mark.parametrize("content", [None, b"", b"no table"])
def test_a_classifier_that_cannot_be_loaded_is_reported_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes | None
) -> None:
    """Files that are not there, or none of ours, end up in the log with the error; decisions are for the stronger models."""
    for name in FILES if content is not None else ():
        (tmp_path / name).write_bytes(content or b"")
    with caplog.at_level(logging.INFO):
        assert load_classifier({ENVIRONMENT_VARIABLE: str(tmp_path)}) is NOTHING_LEARNED
    (record,) = caplog.records
    assert record.message.startswith("classifier cannot be loaded")
    assert record.exc_info is not None
    assert vars(record)["folder"] == str(tmp_path)


def test_what_a_classifier_lacks_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An artefact without some of the readers serves with the others, and the log says which are missing."""
    monkeypatch.setattr(Classifier, "load", lambda folder: Classifier(folder=folder))
    with caplog.at_level(logging.INFO):
        assert load_classifier({ENVIRONMENT_VARIABLE: str(tmp_path)}).folder == tmp_path
    (record,) = caplog.records
    assert (record.levelname, record.message.partition(":")[0]) == ("ERROR", "classifier is not whole")
    assert {"encoder", "routing", "risk"} <= set(vars(record)["absent"])


def test_one_that_hangs_is_left_out(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that waited for ever would never serve."""
    monkeypatch.setattr(Classifier, "load", lambda _: Classifier())
    allowed: list[float] = []

    def late(work: Callable[[], Any], seconds: float) -> Any:
        allowed.append(seconds)
        raise DeadlinePassedError

    assert load_classifier({}, late) is NOTHING_LEARNED
    assert allowed == [START_SECONDS]
    assert "cannot be loaded" in caplog.text


def test_a_reader_that_fails_is_known_before_a_request_meets_it() -> None:
    """Its facts are named; what has learned nothing has nothing to fail with."""

    class Broken:
        def score(self, *_: object) -> object:
            raise ValueError("not today")

    assert exercise(NOTHING_LEARNED) == []
    failures = exercise(Classifier(injection=Broken()))  # type: ignore[arg-type]
    assert {(failure.name, failure.value) for failure in failures} == {("injection", "failed: ValueError")}
