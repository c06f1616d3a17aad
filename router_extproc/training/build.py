"""Makes an artefact from the data: decontamination, every stage, the model card."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from router_extproc.training.artefact import Manifest, check_files, describe, describe_refit, publish
from router_extproc.training.data_cards import load_cards, read_rows
from router_extproc.training.decontamination import EvaluationPrompts, Vectors, check_texts, excluded_rows
from router_extproc.training.model_card import model_card
from router_extproc.training.pipeline import OWN_DATA, Context, Metrics, Stage, StageRecord, run_stages

# Changes the files of the artefact in ``context.out`` by a log of outcomes; returns what it measured.
Refit = Callable[[Context, Path], Metrics]


def build_artefact(
    context: Context, out: Path, *, resume: bool, stages: tuple[Stage, ...], vectors: Vectors | None = None
) -> Manifest:
    """Runs what has to be run and publishes the result into ``out``.

    Args:
        context: ``context.out`` is the workbench, where the stages put their files; ``context.work`` keeps their records.
        out: where the finished artefact goes; untouched until all stages have worked.
        resume: keep what an earlier run has finished, if its code, data and seed are unchanged.
        stages: what to run.
        vectors: the teacher, which compares the meaning of training texts with that of evaluation prompts.

    Raises:
        TrainingError: data is missing or contaminated, a stage failed its own checks, or the result is too large.
    """
    if not resume:
        shutil.rmtree(context.out, ignore_errors=True)
        shutil.rmtree(context.work / "records", ignore_errors=True)
    context.out.mkdir(parents=True, exist_ok=True)
    context = dataclasses.replace(context, excluded=decontaminate(context, vectors))

    def done(record: StageRecord, kept: bool) -> None:  # noqa: FBT001 - the pipeline's callback
        what = "kept from an earlier run" if kept else f"{record.seconds:.0f} s"
        context.progress.note(f"{record.name}: {what}; {', '.join(record.files)}")

    records = run_stages(stages, context, done)
    manifest = describe(context.out, records, context.seed)
    sizes = {name: (context.out / name).stat().st_size for name in manifest.files}
    publish(context.out, manifest, model_card(manifest, sizes), out)
    return manifest


def build_refitted(context: Context, base: Path, log: Path, out: Path, refit: Refit) -> Manifest:
    """Refits the routing score of an artefact on outcomes of one's own, and publishes the whole into ``out``.

    Args:
        context: ``context.out`` is the workbench.
        base: the artefact to start from; unchanged unless ``out`` is the same folder.
        log: JSON lines of prompts and whether the cheap model was good enough.
        out: where the refitted artefact goes; untouched when the refit is refused.
        refit: changes the files in ``context.out``, a copy of the base's, and returns what it measured.

    Raises:
        TrainingError: the log cannot be used, or the refitted score is no better than the base's.
    """
    manifest = check_files(base)
    shutil.rmtree(context.out, ignore_errors=True)
    for name in manifest.files:
        (context.out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(base / name, context.out / name)
    refitted = describe_refit(context.out, manifest, refit(context, log))
    sizes = {name: (context.out / name).stat().st_size for name in refitted.files}
    publish(context.out, refitted, model_card(refitted, sizes), out)
    return refitted


def decontaminate(context: Context, vectors: Vectors | None) -> Mapping[str, frozenset[str]]:
    """The rows that no stage may see, by data card; all findings are written to ``work/contamination.json``.

    Args:
        context: where the data lies.
        vectors: makes the vectors by which meanings are compared; without it words alone are.

    Raises:
        ContaminationError: one of the package's own texts repeats an evaluation prompt.
    """
    evaluation = evaluation_prompts(context.data)
    cards = {name: card for name, card in load_cards().items() if not card.evaluation}
    texts = {name: [row[card.text] for row in read_rows(name, context.data)] for name, card in cards.items()}
    found = excluded_rows(texts, evaluation, vectors)
    context.work.mkdir(parents=True, exist_ok=True)
    (context.work / "contamination.json").write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    for name, findings in found.items():
        if findings:
            context.progress.note(f"{name}: {len(findings)} of {len(texts[name])} rows repeat an evaluation prompt: left out")
    for path in sorted([*OWN_DATA.rglob("*.jsonl"), *OWN_DATA.rglob("*.txt")]):
        check_texts(path.name, _own_texts(path), evaluation)
    return {name: frozenset(finding.text for finding in findings) for name, findings in found.items()}


def evaluation_prompts(data: Path) -> EvaluationPrompts:
    """Every prompt of every evaluation file; of pairs both texts."""
    prompts: list[str] = []
    for name, card in load_cards().items():
        if card.evaluation:
            columns = [column for column in (card.text, "b") if column in card.columns]
            prompts += [row[column] for row in read_rows(name, data) for column in columns]
    return EvaluationPrompts(prompts)


def _own_texts(path: Path) -> list[str]:
    """The texts of one of the package's own files: JSON lines with ``text``, or plain lines, of which ``#`` begins comments."""
    if path.suffix == ".txt":
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip() and not line.startswith("#")]
    rows = [msgspec.json.decode(line) for line in path.read_bytes().splitlines() if line.strip()]
    return [str(row["text"]) for row in rows if isinstance(row, dict) and "text" in row]
