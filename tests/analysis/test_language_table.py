"""The shipped weights of languages."""

from __future__ import annotations

import numpy as np

from router_extproc.analysis.language_table import language_table
from router_extproc.analysis.slice_hashes import code_points


def weights(word: str) -> dict[str, float]:
    table = language_table()
    sums = table.prefix_sums(code_points(word))
    evidence = table.evidence(sums, np.array([0]), np.array([len(word)]), np.array([0]), 1)[0]
    return dict(zip(table.languages, evidence.tolist(), strict=True))


def test_words_speak_for_their_language() -> None:
    """The likeliest language of a word that one language has alone."""
    for word, code in (
        (" nicht ", "de"),
        (" ikke ", "no"),
        (" није ", "sr"),
        (" that ", "en"),
        (" není ", "cs"),
        (" och ", "sv"),
    ):
        said = weights(word)
        assert said[code] >= 0.8 * max(said.values()) > 0


def test_words_say_nothing_about_other_scripts() -> None:
    """A word in Latin letters leaves languages of other scripts alone, an unknown one all of them."""
    assert {weights(" nicht ")[code] for code in ("ru", "ar", "hi")} == {0.0}
    assert not any(weights(" qzxwvq ").values())


def test_scripts_share_the_columns_out() -> None:
    """Every language has one column and one script."""
    table = language_table()
    columns = sorted(column for slice_ in table.scripts.values() for column in range(slice_.start, slice_.stop))
    assert columns == list(range(len(table.languages))) == list(range(len(table.priors)))
