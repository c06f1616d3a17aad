"""The shipped vocabulary: tokens are found, other strings are not, and opening it costs no memory of its own."""

from __future__ import annotations

import random

import numpy as np

from router_extproc.analysis.slice_hashes import code_points
from router_extproc.analysis.token_table import FINGERPRINTS_FILE, FOLDER, LONGEST, token_table


def holds(*texts: str) -> list[bool]:
    table = token_table()
    found = []
    for text in texts:
        sums = table.prefix_sums(code_points(text))
        found.append(bool(table.holds(sums, np.array([0]), np.array([len(text)]))[0]))
    return found


def test_tokens_are_found() -> None:
    """Words that o200k_base holds whole, with their leading space, digits, and tokens of other scripts."""
    assert all(holds(" the", "The", "123", " function", "();\n", " привет", "的", "    ", " international"))


def test_other_strings_are_not() -> None:
    """Of ten thousand random strings hardly any is taken for a token."""
    generator = random.Random(5)  # noqa: S311 - any strings will do
    strings = ["".join(generator.choices("bcdfghjklmnpqrstvwxz", k=9)) for _ in range(10_000)]
    assert sum(holds(*strings)) <= 3


def test_slices_are_found_wherever_they_stand() -> None:
    """A slice's answer does not depend on its place, up to the longest text."""
    table = token_table()
    text = ("x" * 7 + " the") * (LONGEST // 11)
    sums = table.prefix_sums(code_points(text))
    starts = np.arange(7, len(text), 11)
    assert table.holds(sums, starts, starts + 4).all()


def test_workers_share_the_table() -> None:
    """The file is of about a megabyte, and it is mapped rather than read."""
    assert (FOLDER / FINGERPRINTS_FILE).stat().st_size < 1_100_000
    assert isinstance(token_table()._fingerprints.base, np.memmap)
