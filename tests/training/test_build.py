"""Building an artefact: what is published, and what keeps it from being published."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import pytest

from router_extproc.errors import TrainingError
from router_extproc.training import artefact as artefact_module
from router_extproc.training import build as build_module
from router_extproc.training.artefact import MANIFEST, MODEL_CARD, check_files, read_manifest
from router_extproc.training.build import build_artefact, build_refitted
from router_extproc.training.decontamination import ContaminationError
from router_extproc.training.pipeline import Context, Stage
from tests.training.workshop import write_data, write_rows, write_stage


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """Small data and a workbench."""
    return Context(data=write_data(tmp_path / "data"), work=tmp_path / "work", out=tmp_path / "work/artefact", seed=3)


@pytest.fixture
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Stage, ...]:
    """One stage, which counts the sentences."""
    return (write_stage(tmp_path / "code", monkeypatch),)


def test_an_artefact_says_what_it_was_made_from(context: Context, stages: tuple[Stage, ...], tmp_path: Path) -> None:
    """The manifest names every file with its hash, and every data file that was read with source and licence."""
    build_artefact(context, tmp_path / "out", resume=False, stages=stages)
    manifest = check_files(tmp_path / "out")
    assert set(manifest.files) == {"count.txt"}
    assert (manifest.seed, manifest.stages["counting"]["count"]) == (3, 2)
    assert set(manifest.data) == {"sentences"}
    assert manifest.data["sentences"].licence.startswith("Apache-2.0")
    assert manifest.data["sentences"].stages == ("counting",)
    card = (tmp_path / "out" / MODEL_CARD).read_text()
    for word in ("`count.txt`", "yizhongw/self-instruct", "| count | 2 |", "| t | 0.500 |", manifest.created):
        assert word in card


def test_what_repeats_an_evaluation_prompt_is_left_out(context: Context, stages: tuple[Stage, ...], tmp_path: Path) -> None:
    """The stage never sees the row, and the finding is written down."""
    write_rows(context.data, "sentences", [{"text": "one"}, {"text": "Why is it"}])
    manifest = build_artefact(context, tmp_path / "out", resume=False, stages=stages)
    assert manifest.stages["counting"]["count"] == 1
    findings = msgspec.json.decode((context.work / "contamination.json").read_bytes())["sentences"]
    assert [(finding["text"], finding["test"]) for finding in findings] == [("Why is it", "equal")]


@pytest.mark.parametrize("line", ['jsonl: {"text": "Why is it?"}', "txt: Why is it?"])
def test_an_own_text_that_repeats_an_evaluation_prompt_stops_everything(
    line: str, context: Context, stages: tuple[Stage, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package's own texts are not cleaned in silence, and nothing is published."""
    ending, _, text = line.partition(": ")
    own = tmp_path / "own" / "tasks"
    own.mkdir(parents=True)
    (own / f"templates.{ending}").write_text(f"{text}\n")
    monkeypatch.setattr(build_module, "OWN_DATA", own.parent)
    with pytest.raises(ContaminationError, match=rf"templates\.{ending}"):
        build_artefact(context, tmp_path / "out", resume=False, stages=stages)
    assert not (tmp_path / "out").exists()


def test_a_later_artefact_leaves_nothing_of_an_earlier_one(context: Context, stages: tuple[Stage, ...], tmp_path: Path) -> None:
    """A file that is no longer part of the artefact goes; files that never were stay."""
    out = tmp_path / "out"
    build_artefact(context, out, resume=False, stages=stages)
    manifest = read_manifest(out)
    old = msgspec.structs.replace(manifest, files={**manifest.files, "old.npz": "0"})
    (out / MANIFEST).write_bytes(msgspec.json.encode(old))
    for name in ("old.npz", "notes.txt"):
        (out / name).write_text("")
    build_artefact(context, out, resume=False, stages=stages)
    assert {path.name for path in out.iterdir()} == {"count.txt", "notes.txt", MANIFEST, MODEL_CARD}


def test_only_a_resumed_run_keeps_what_was_done(context: Context, stages: tuple[Stage, ...], tmp_path: Path) -> None:
    """Without `--resume` everything is made anew, whatever an earlier run has left."""
    build_artefact(context, tmp_path / "out", resume=False, stages=stages)
    made = (context.out / "count.txt").stat().st_mtime_ns
    build_artefact(context, tmp_path / "out", resume=True, stages=stages)
    assert (context.out / "count.txt").stat().st_mtime_ns == made
    build_artefact(context, tmp_path / "out", resume=False, stages=stages)
    assert (context.out / "count.txt").stat().st_mtime_ns > made


def test_what_is_too_large_is_not_published(
    context: Context, stages: tuple[Stage, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package's budget is kept by the build, not found out at release."""
    monkeypatch.setattr(artefact_module, "LARGEST_SIZE", 0)
    with pytest.raises(TrainingError, match="at most 0 MB"):
        build_artefact(context, tmp_path / "out", resume=False, stages=stages)
    assert not (tmp_path / "out").exists()


def test_a_changed_file_is_found(context: Context, stages: tuple[Stage, ...], tmp_path: Path) -> None:
    """An artefact whose file is not the one it was published with is not measured as if it were."""
    out = tmp_path / "out"
    with pytest.raises(TrainingError, match="holds no artefact"):
        check_files(out)
    build_artefact(context, out, resume=False, stages=stages)
    (out / "count.txt").write_text("17")
    with pytest.raises(TrainingError, match=r"count\.txt is not the file"):
        check_files(out)


def test_the_context_of_the_caller_stays_as_it_was(context: Context, stages: tuple[Stage, ...], tmp_path: Path) -> None:
    """What is excluded for one run is no setting of the next."""
    before = dataclasses.replace(context)
    build_artefact(context, tmp_path / "out", resume=False, stages=stages)
    assert context.excluded == before.excluded == {}


def test_a_refit_changes_what_it_refits_and_says_so(context: Context, stages: tuple[Stage, ...], tmp_path: Path) -> None:
    """The base stays as it is; the refitted artefact is whole, names its base, and its card tells what was measured."""
    base, out = tmp_path / "base", tmp_path / "out"
    build_artefact(context, base, resume=False, stages=stages)

    def refit(workbench: Context, log: Path) -> dict[str, object]:
        (workbench.out / "count.txt").write_text(log.name)
        return {"apgr": 0.64}

    bench = dataclasses.replace(context, out=tmp_path / "bench")
    build_refitted(bench, base, tmp_path / "outcomes.jsonl", out, refit)
    assert (check_files(base).refitted, (base / "count.txt").read_text()) == (None, "2")
    manifest = check_files(out)
    assert manifest.refitted is not None
    assert manifest.refitted["apgr"] == 0.64
    assert "base" in manifest.refitted
    assert (out / "count.txt").read_text() == "outcomes.jsonl"
    assert "| apgr | 0.640 |" in (out / MODEL_CARD).read_text()


def test_a_refused_refit_leaves_everything_as_it_was(context: Context, stages: tuple[Stage, ...], tmp_path: Path) -> None:
    """A worse score is not written, not even over an older artefact."""
    base = tmp_path / "base"
    build_artefact(context, base, resume=False, stages=stages)
    before = (base / MANIFEST).read_bytes()

    def refit(workbench: Context, _: Path) -> dict[str, object]:
        (workbench.out / "count.txt").write_text("worse")
        raise TrainingError("no better")

    with pytest.raises(TrainingError, match="no better"):
        build_refitted(dataclasses.replace(context, out=tmp_path / "bench"), base, tmp_path / "log", base, refit)
    assert (base / MANIFEST).read_bytes() == before
    assert (base / "count.txt").read_text() == "2"
