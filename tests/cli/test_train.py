"""`router-extproc train` and `evaluate`: what they ask for, where they write, and how they say what is missing."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from router_extproc.cli import main
from router_extproc.training import bert_graph, stages, teacher
from router_extproc.training.data_cards import DATA_VARIABLE
from tests.training.workshop import write_data, write_stage


@pytest.fixture(autouse=True)
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One stage that counts, in a directory of its own; the threads of the test process stay as they are."""
    stage = write_stage(tmp_path / "code", monkeypatch)
    monkeypatch.setattr(stages, "STAGES", (stage,))
    monkeypatch.setattr(stages, "teacher_of", lambda _context: None)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)


def test_training_publishes_an_artefact_and_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The folder holds files, manifest and card; standard output says how to try it."""
    write_data(tmp_path / "data")
    assert main(["train", "--data", "data", "--out", "made"]) == 0
    assert {path.name for path in Path("made").iterdir()} == {"count.txt", "artefact.json", "MODEL_CARD.md"}
    printed = capsys.readouterr().out
    assert "made: 1 files" in printed
    assert "ROUTER_EXTPROC_ARTEFACT=made" in printed


def test_without_data_nothing_is_trained(capsys: pytest.CaptureFixture[str]) -> None:
    """The complaint says how to point to the data."""
    for command in ("train", "evaluate"):
        assert main([command]) == 1
        assert "--data DIR or in ROUTER_EXTPROC_DATA" in capsys.readouterr().err


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever installed the service alone reads what to install."""
    found = importlib.util.find_spec

    def find(name: str, *rest: Any) -> Any:
        return None if name == "sklearn" else found(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    assert main(["train", "--data", "data"]) == 1
    assert "sklearn must be installed: pip install 'router-extproc[train]'" in capsys.readouterr().err


def test_minilm_is_built_from_the_weights_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No data is asked for; the graph lies where the encoder looks for it."""
    monkeypatch.setattr(teacher, "model_folder", lambda: tmp_path / "model")
    monkeypatch.setattr(bert_graph, "build_int8", lambda weights, path: path.write_text(weights.name))
    assert main(["train", "--minilm", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "minilm_int8.onnx").read_text() == "model.safetensors"
    assert "minilm_int8.onnx: 0.0 MB" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "--threads", "0"], "'0' is not a number above zero"),
        (["evaluate", "--threads", "two"], "'two' is not a number above zero"),
        (["train", "--seed=-1"], "'-1' is not a number from zero on"),
        (["train", "--minilm", "--from", "log.jsonl"], "not allowed with argument"),
    ],
)
def test_wrong_use_is_told_before_anything_is_done(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Two kinds of training at once, or numbers that are none, train nothing."""
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert said in capsys.readouterr().err


def test_an_evaluation_without_an_artefact_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty folder is no artefact, and nothing is written about it."""
    write_data(tmp_path / "data")
    (tmp_path / "empty").mkdir()
    assert main(["evaluate", "--data", "data", "--artefact", "empty", "--out", "tables"]) == 1
    assert "empty holds no artefact" in capsys.readouterr().err
    assert not Path("tables").exists()
