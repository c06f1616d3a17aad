"""Refitting the routing score on outcomes of one's own."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from router_extproc.analysis.encoders.static import StaticEncoder
from router_extproc.analysis.encoding import TextEncoding
from router_extproc.analysis.location import artefact_folder
from router_extproc.analysis.routing import RoutingHead
from router_extproc.analysis.surface import surface_features
from router_extproc.errors import TrainingError
from router_extproc.training.metrics import auc
from router_extproc.training.pipeline import Context
from router_extproc.training.refit import FEWEST, log_loss, read_log, refit

# At this site letters to customers are hard, and sums are easy: not what the shipped score thinks.
LETTERS = [
    f"Write a {tone} letter to a {who} about the {what}."
    for tone in ("kind", "firm", "short", "formal")
    for who in ("customer", "supplier", "tenant", "guest")
    for what in ("late delivery", "broken window", "new prices", "lost key", "summer party")
]
SUMS = [f"Calculate {a} times {b} minus {a + b}, then divide it by {b}." for a in range(12, 22) for b in range(3, 11)]


def write_log(path: Path, outcomes: list[tuple[str, int]]) -> Path:
    """A log as the service's users keep it."""
    path.write_text("\n".join(json.dumps({"prompt": text, "cheap_was_good_enough": good}) for text, good in outcomes))
    return path


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """A workbench with a copy of the shipped artefact."""
    out = tmp_path / "out"
    out.mkdir()
    for name in ("routing.npz", "vocabulary.txt", "static_table.npy", "static_scale.npy"):
        shutil.copyfile(artefact_folder(os.environ) / name, out / name)
    return Context(data=tmp_path, work=tmp_path / "work", out=out)


def scores(folder: Path, texts: list[str]) -> list[float]:
    """What the head of a folder says of texts."""
    encoder, head = StaticEncoder.load(folder), RoutingHead.load(folder)
    encodings = [TextEncoding(text, encoder) for text in texts]
    return [head.score(encoding, surface_features(encoding.text), "en").needs_strong for encoding in encodings]


def test_what_a_site_found_hard_becomes_hard(context: Context, tmp_path: Path) -> None:
    """Outcomes unlike the shipped score's opinion turn it round, for prompts that were not in the log too."""
    log = write_log(tmp_path / "log.jsonl", [(text, 0) for text in LETTERS] + [(text, 1) for text in SUMS])
    new = ["Write a calm letter to a customer about the lost parcel."], ["Calculate 31 times 7 minus 12, then divide it by 5."]
    assert scores(context.out, new[0]) < scores(context.out, new[1])
    figures = refit(context, log)
    assert scores(context.out, new[0]) > scores(context.out, new[1])
    assert isinstance(figures["auc_held_out"], float)
    assert figures["auc_held_out"] > 0.95


def test_outcomes_by_chance_do_not_change_a_calibrated_score(context: Context, tmp_path: Path) -> None:
    """Labels drawn from the shipped probabilities themselves hold nothing to learn: the order of prompts stays."""
    texts = LETTERS + SUMS
    before = np.array(scores(context.out, texts))
    random = np.random.default_rng(7)
    outcomes = [(text, int(random.random() > need)) for text, need in zip(texts, before, strict=True)]
    try:
        refit(context, write_log(tmp_path / "log.jsonl", outcomes))
    except TrainingError:
        return
    assert np.corrcoef(before, scores(context.out, texts))[0, 1] > 0.8


def test_a_worse_score_is_refused_and_nothing_changes(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where held-out outcomes say that the new score is no better, the file stays as it was."""
    before = (context.out / "routing.npz").read_bytes()
    monkeypatch.setattr("router_extproc.training.refit.log_loss", lambda *_: 1.0)
    log = write_log(tmp_path / "log.jsonl", [(text, 0) for text in LETTERS] + [(text, 1) for text in SUMS])
    with pytest.raises(TrainingError, match="no better"):
        refit(context, log)
    assert (context.out / "routing.npz").read_bytes() == before


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('{"prompt": "hi"}\n', "log.jsonl:1.*cheap_was_good_enough"),
        ("not json\n", "log.jsonl:1"),
        ("\n" + '{"prompt": "hi", "cheap_was_good_enough": 2}\n', "log.jsonl:2: cheap_was_good_enough is 2; expected"),
        ('{"prompt": "hi", "cheap_was_good_enough": 1}\n' * FEWEST, "20 of each kind"),
        ('{"prompt": "hi", "cheap_was_good_enough": true}\n' * 3, "3 outcomes"),
    ],
)
def test_a_log_that_cannot_serve_is_refused(tmp_path: Path, lines: str, message: str) -> None:
    """The message names the line, or how many outcomes are wanted."""
    path = tmp_path / "log.jsonl"
    path.write_text(lines)
    with pytest.raises(TrainingError, match=message):
        read_log(path)


def test_a_line_that_is_no_text_is_named(tmp_path: Path) -> None:
    """Latin-1 among the lines is told with its line, not by a traceback."""
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"prompt": "hi", "cheap_was_good_enough": 1}\n{"prompt": "caf\xe9", "cheap_was_good_enough": 1}\n')
    with pytest.raises(TrainingError, match=r"log\.jsonl:2: .*utf-8"):
        read_log(path)


def test_outcomes_that_teach_nothing_but_flatness_are_refused(context: Context, tmp_path: Path) -> None:
    """Chance on prompts of which the shipped score is too sure makes a flat score likelier, but orders nothing any more."""
    random = np.random.default_rng(3)
    log = write_log(tmp_path / "log.jsonl", [(text, int(random.integers(2))) for text in LETTERS + SUMS])
    before = (context.out / "routing.npz").read_bytes()
    with pytest.raises(TrainingError, match=r"no better.*AUC"):
        refit(context, log)
    assert (context.out / "routing.npz").read_bytes() == before


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    """A log written on Windows is read; what is wrong with it is something else."""
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"prompt": "hi", "cheap_was_good_enough": 1}\n')
    with pytest.raises(TrainingError, match="1 outcomes, 1 of them good enough"):
        read_log(path)


def test_a_missing_log_is_named(tmp_path: Path) -> None:
    """No traceback where the path is wrong."""
    with pytest.raises(TrainingError, match="nowhere"):
        read_log(tmp_path / "nowhere.jsonl")


def test_log_loss_of_known_probabilities() -> None:
    """Even odds cost log 2, whatever happened."""
    assert log_loss(np.zeros(2), np.array([0.0, 1.0])) == pytest.approx(np.log(2))
    assert auc([0, 1], [0, 1]) == 1
