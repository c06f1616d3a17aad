"""Which texts of the intent sets are examples, and which are only asked about."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from router_extproc.training.pipeline import Context
from router_extproc.training.route_examples import banking77, clinc150, held_out
from tests.training.workshop import write_data, write_rows


def _context(tmp_path: Path) -> Context:
    data = write_data(tmp_path)
    splits = ("train", "train", "val", "oos_val")
    write_rows(
        data,
        "clinc150",
        [
            {"text": f"c{number}", "intent": "oos" if "oos" in split else "pay", "split": split}
            for number, split in enumerate(splits)
        ],
    )
    write_rows(data, "banking77", [{"text": f"b{number}", "category": "card"} for number in range(200)])
    return Context(data=data, work=tmp_path, out=tmp_path, purpose="evaluation")


def test_clinc_is_split_as_published(tmp_path: Path) -> None:
    """Training texts are examples, validation texts are asked, and out of scope is neither."""
    intents = clinc150(_context(tmp_path))
    assert intents.examples == {"pay": ["c0", "c1"]}
    assert intents.asked == {"pay": ["c2"]}
    assert intents.out_of_scope == ["c3"]


def test_about_a_fifth_of_banking_is_asked(tmp_path: Path) -> None:
    """The split follows the text alone, so it is the same in every run, and nothing is on both sides."""
    intents = banking77(_context(tmp_path))
    asked, examples = intents.asked["card"], intents.examples["card"]
    assert 25 <= len(asked) <= 55
    assert not set(asked) & set(examples)
    assert all(held_out("banking77", {"text": text}) for text in asked)
    assert not any(held_out("banking77", {"text": text}) for text in examples)


def test_a_draw_takes_so_many_of_each_intent(tmp_path: Path) -> None:
    """Draws are of the examples alone, without repetition, and differ by the random numbers."""
    intents = banking77(_context(tmp_path))
    first, second = (intents.draw(5, np.random.default_rng(seed))["card"] for seed in (1, 2))
    assert len(set(first)) == 5
    assert set(first) <= set(intents.examples["card"])
    assert first != second
