"""A small workshop for the tests: data files of a few rows, and a stage that counts them."""

from __future__ import annotations

import csv
import gzip
import sys
import textwrap
from pathlib import Path

import pytest

from router_extproc.training.data_cards import card_of, load_cards
from router_extproc.training.pipeline import Stage

HEAD = "example_head_of_the_tests"
_CODE = """
def train(context):
    count = len(context.texts("sentences"))
    (context.out / "count.txt").write_text(str(count))
    return {"count": count, "by letter": {"o": 1, "t": 0.5}}
"""


def write_rows(folder: Path, name: str, rows: list[dict[str, str]]) -> None:
    """One data file as its card wants it; columns left out are empty."""
    card = card_of(name)
    path = folder / card.path
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, card.columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def write_data(folder: Path) -> Path:
    """Every data file there is: two sentences, one question of an evaluation, the others empty."""
    for name in load_cards():
        write_rows(folder, name, [])
    write_rows(folder, "sentences", [{"text": "one"}, {"text": "two"}])
    write_rows(folder, "eval_mmlu", [{"prompt": "why is it?", "strong": "1", "weak": "0", "group": "law"}])
    return folder


def write_stage(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A stage that counts the sentences into ``count.txt``."""
    folder.mkdir(exist_ok=True)
    (folder / f"{HEAD}.py").write_text(textwrap.dedent(_CODE))
    monkeypatch.syspath_prepend(folder)
    sys.modules.pop(HEAD, None)
    return Stage("counting", HEAD)
