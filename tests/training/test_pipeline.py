"""The pipeline: what a stage is given, what it may not see, and when it is run again."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from router_extproc.errors import TrainingError
from router_extproc.training import data_cards
from router_extproc.training.data_cards import DATA_VARIABLE, MissingDataError, data_folder, load_cards, read_rows
from router_extproc.training.pipeline import Context, Stage, StageRecord, run_stages
from tests.training.workshop import HEAD, write_data, write_rows, write_stage


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """Two sentences of data and empty folders."""
    for folder in ("data", "work", "out"):
        (tmp_path / folder).mkdir()
    write_data(tmp_path / "data")
    return Context(data=tmp_path / "data", work=tmp_path / "work", out=tmp_path / "out")


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A stage that counts the sentences."""
    return write_stage(tmp_path / "code", monkeypatch)


def run(stages: tuple[Stage, ...], context: Context) -> list[tuple[str, bool]]:
    """The names of the stages as they end, and whether each was kept from an earlier run."""
    seen: list[tuple[str, bool]] = []

    def done(record: StageRecord, kept: bool) -> None:  # noqa: FBT001 - the pipeline's callback
        seen.append((record.name, kept))

    run_stages(stages, context, done)
    return seen


def test_a_stage_is_run_once_and_again_when_its_data_changes(stage: Stage, context: Context) -> None:
    """An interrupted training goes on where it was; new data is never answered with an old artefact."""
    assert run((stage,), context) == [("counting", False)]
    assert run((stage,), context) == [("counting", True)]
    write_rows(context.data, "sentences", [{"text": "one"}, {"text": "two"}, {"text": "three"}])
    assert run((stage,), context) == [("counting", False)]
    assert (context.out / "count.txt").read_text() == "3"


def test_a_stage_is_run_again_when_other_rows_are_excluded(stage: Stage, context: Context) -> None:
    """A row found to repeat an evaluation prompt does not live on in an artefact that is kept."""
    run((stage,), context)
    cleaner = dataclasses.replace(context, excluded={"sentences": frozenset({"two"})})
    assert run((stage,), cleaner) == [("counting", False)]
    assert run((stage,), cleaner) == [("counting", True)]


def test_a_stage_is_run_again_when_its_file_is_gone_or_changed(stage: Stage, context: Context) -> None:
    """What lies in the artefact is what the stage wrote, or it is written anew."""
    run((stage,), context)
    (context.out / "count.txt").write_text("17")
    assert run((stage,), context) == [("counting", False)]
    (context.out / "count.txt").unlink()
    assert run((stage,), context) == [("counting", False)]
    assert (context.out / "count.txt").read_text() == "2"


def test_figures_of_numpy_s_types_can_be_kept(stage: Stage, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head may return what numpy counted; the record holds plain numbers and words."""
    train = Stage.run

    def numpy_figures(self: Stage, within: Context) -> dict[str, object]:
        train(self, within)
        return {"shares": {np.str_("a"): np.float32(0.5)}, "counts": np.array([1, 2])}

    monkeypatch.setattr(Stage, "run", numpy_figures)
    records: list[StageRecord] = []
    run_stages((stage,), context, lambda record, _kept: records.append(record))
    assert records[0].metrics == {"shares": {"a": 0.5}, "counts": [1, 2]}
    assert run((stage,), context) == [("counting", True)]


def test_a_stage_that_writes_nothing_is_refused(stage: Stage, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """An artefact with a hole is never shipped."""
    monkeypatch.setattr(Stage, "run", lambda *_arguments: {})
    with pytest.raises(TrainingError, match="'counting' wrote nothing"):
        run((stage,), context)


def test_a_stage_that_comes_before_what_it_needs_is_refused(context: Context) -> None:
    """A wrong order is a mistake in the list of stages, told by name."""
    with pytest.raises(TrainingError, match="needs encoder"):
        run((Stage("head", HEAD, after=("encoder",)),), context)


def test_training_never_sees_the_labels_of_an_evaluation_file(context: Context) -> None:
    """What the models got right is withheld from every stage, and given to every report."""
    assert context.rows("eval_mmlu") == [{"prompt": "why is it?", "group": "law"}]
    report = Context(data=context.data, work=context.work, out=context.out, purpose="evaluation")
    assert report.rows("eval_mmlu") == [{"prompt": "why is it?", "strong": "1", "weak": "0", "group": "law"}]


def test_training_never_sees_an_excluded_row(context: Context) -> None:
    """What decontamination excluded is gone for every stage."""
    clean = Context(data=context.data, work=context.work, out=context.out, excluded={"sentences": frozenset({"two"})})
    assert clean.texts("sentences") == ["one"]


def test_random_numbers_depend_on_seed_and_purpose_alone(context: Context) -> None:
    """Equal seeds make equal artefacts, whatever ran before."""
    first = context.random("folds").integers(1 << 30)
    context.random("noise").integers(1 << 30, size=100)
    assert context.random("folds").integers(1 << 30) == first
    assert context.random("noise").integers(1 << 30) != first


def test_a_missing_file_is_named_with_the_way_out(context: Context) -> None:
    """Whoever lacks data reads which file, where it was looked for, and how to point to it."""
    (context.data / "injection/injection_dev.csv.gz").unlink()
    with pytest.raises(MissingDataError) as missing:
        context.rows("injection")
    assert str(context.data / "injection/injection_dev.csv.gz") in str(missing.value)
    assert "--data DIR" in str(missing.value)
    assert DATA_VARIABLE in str(missing.value)


def test_without_a_folder_the_two_ways_to_name_one_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No data, no guess: the message says how to name the folder."""
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    with pytest.raises(MissingDataError, match="--data DIR or in ROUTER_EXTPROC_DATA"):
        data_folder()
    with pytest.raises(MissingDataError, match="is no folder"):
        data_folder(tmp_path / "nothing")
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    assert data_folder() == tmp_path


def test_a_column_that_the_card_names_must_be_there(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another file under the same name is refused before anything is trained on it."""
    monkeypatch.setattr(data_cards, "load_cards", lambda: {"sentences": card_of_with("text", "language")})
    with pytest.raises(TrainingError, match="language"):
        read_rows("sentences", context.data)


def card_of_with(*columns: str) -> data_cards.DataCard:
    """The card of the sentences, asking for these columns."""
    return data_cards.DataCard(
        path="distill/sentences.csv.gz", licence="", source="", columns=columns, text="text", evaluation=False
    )


def test_every_card_says_what_a_model_card_needs() -> None:
    """No data without source and licence; everything called eval is marked as evaluation."""
    cards = load_cards()
    assert all(card.licence and card.source and card.text in card.columns for card in cards.values())
    assert {name for name, card in cards.items() if card.evaluation} >= {name for name in cards if name.startswith("eval_")}
