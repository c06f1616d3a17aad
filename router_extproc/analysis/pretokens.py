"""Cuts text where o200k_base cuts it before it merges: words with what leads them, digits by threes, symbols, white space.

The rules are those of the tokenizer's published pattern (tiktoken, MIT), worked on whole arrays of code points: of a
thousand boundaries one is elsewhere.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from router_extproc.analysis.slice_hashes import Indices, Points

# Classes of code points. Caseless letters (CJK, Arabic, marks) follow and precede letters of either case. A break belongs to
# nothing before or after it: it stands between texts that are cut together.
LOWER, UPPER, CASELESS, DIGIT, NEWLINE, SPACE, SYMBOL, BREAK = range(8)
BREAK_CHARACTER = "\uffff"  # never a character
CODE_POINTS = 0x30000  # beyond lie only private use and tags: symbols
_LETTERS, _DIGITS, _WHITE, _SYMBOLS, _BREAKS = range(5)
_KINDS = np.array([_LETTERS, _LETTERS, _LETTERS, _DIGITS, _WHITE, _WHITE, _SYMBOLS, _BREAKS], np.uint8)
_DIGITS_TOGETHER = 3

_BLANK, _APOSTROPHE, _SMALL = ord(" "), ord("'"), 0x20
_ENDINGS = tuple(map(ord, "stmd"))
_LONG_ENDINGS = tuple((ord(first), ord(second)) for first, second in ("re", "ve", "ll"))


def pretoken_starts(points: Points, classes_of: NDArray[np.uint8]) -> Indices:
    """Where pre-tokens begin, ascending from 0; `points` is not empty, `classes_of` maps a code point to its class."""
    classes = classes_of[np.minimum(points, CODE_POINTS - 1)]
    kinds = _KINDS[classes]
    before, after = classes[:-1], classes[1:]
    changes = kinds[1:] != kinds[:-1]
    starts = np.empty(len(points), bool)
    starts[0] = True
    np.logical_or(changes, (after == UPPER) & ((before == LOWER) | (before == CASELESS)), out=starts[1:])
    starts[1:] |= (after == SPACE) & (before == NEWLINE)
    runs = np.flatnonzero(changes) + 1
    if len(runs):
        _lead(starts, runs, points, classes, kinds)
    _split_digits(starts, classes)
    return np.flatnonzero(starts)


def _lead(
    starts: NDArray[np.bool_], runs: Indices, points: Points, classes: NDArray[np.uint8], kinds: NDArray[np.uint8]
) -> None:
    """Gives words the one space or symbol before them, symbols the blank before and the line's end after them."""
    kind, last_class, last_point = kinds[runs], classes[runs - 1], points[runs - 1]
    words, symbols = kind == _LETTERS, kind == _SYMBOLS
    after_space = last_class == SPACE
    second_last = np.maximum(runs - 2, 0)
    lone = (runs == 1) | ((classes[second_last] != SYMBOL) & (points[second_last] != _BLANK))
    blank = symbols & (last_point == _BLANK)
    led = runs[(words & (after_space | ((last_class == SYMBOL) & lone))) | blank]
    starts[led] = False
    starts[led - 1] = True
    starts[runs[after_space & ~words & ~blank & (kind != _BREAKS)] - 1] = True
    starts[runs[(last_class == SYMBOL) & (classes[runs] == NEWLINE)]] = False
    endings = runs[words & (last_point == _APOSTROPHE) & (runs > 1)]
    if len(endings):
        _join_endings(starts, endings[kinds[endings - 2] == _LETTERS], points)


def _join_endings(starts: NDArray[np.bool_], endings: Indices, points: Points) -> None:
    """Leaves the ``'s`` and ``'ll`` of English at their words."""
    first = points[endings] | _SMALL
    second = points[np.minimum(endings + 1, len(points) - 1)] | _SMALL
    joined = np.isin(first, _ENDINGS)
    for one, two in _LONG_ENDINGS:
        joined |= (first == one) & (second == two)
    starts[endings[joined] - 1] = False


def _split_digits(starts: NDArray[np.bool_], classes: NDArray[np.uint8]) -> None:
    digits = np.flatnonzero(classes == DIGIT)
    if len(digits):
        begins = np.flatnonzero(np.diff(digits, prepend=-2) != 1)
        place = np.arange(len(digits)) - np.repeat(begins, np.diff(begins, append=len(digits)))
        starts[digits[place % _DIGITS_TOGETHER == 0]] = True
