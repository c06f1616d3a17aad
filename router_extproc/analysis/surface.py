"""What can be counted in a text without understanding it: lengths, digits, punctuation, lists, layout.

Rules of this file
- One pass over the bytes of the UTF-8 text, whole arrays at a time: no regular expression, no loop over characters.
- Bytes above 127 count as letters, so that accented and foreign words have lengths too.
- The caller bounds the text (``TextEncoding.text``, head and tail); nothing here is bounded again.
"""

from __future__ import annotations

from math import log1p
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Each group with what its features count; "log" is log(1 + n). Shares of characters come first.
_SHARES = {
    "letters": b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "capitals": b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "digits": b"0123456789",
    "vowels": b"aeiouyAEIOUY",
    "foreign_bytes": bytes(range(128, 256)),
}
# Logs of how often these occur.
_MARKS = {
    "commas": b",",
    "questions": b"?",
    "exclamations": b"!",
    "semicolons": b";",
    "colons": b":",
    "quotes": b"\"'",
    "hyphens": b"-",
    "parentheses": b"(",
    "brackets": b"[]{}",
    "operators": b"=+*/^<>|~",
    "equals": b"=",
    "backslashes": b"\\",
    "dollars": b"$",
    "percents": b"%",
    "backticks": b"`",
    "underscores": b"_",
}
_WORD_FORM = (
    "words",  # log
    "sentences",  # log
    "word_length",  # mean, in bytes
    "long_words",  # share of the words of 8 bytes or more
    "very_long_words",  # share of the words of 12 bytes or more
    "longest_word",  # log
    "sentence_length",  # log of words a sentence
    "capitalised_words",  # share of the words
    "single_letters",  # share of the words that are one letter other than a, A and I: variables
)
_NUMBER_FORM = (
    "numbers",  # log of runs of digits
    "longest_number",  # digits
    "decimals",  # log
)
_LINE_FORM = (
    "lines",  # log
    "blank_lines",  # log
    "indented_lines",  # log
    "bullets",  # log of lines that begin with - or *
    "numbered",  # log of lines that begin with a number
    "options",  # log of lines that begin with a capital and a point, colon or parenthesis
    "option_length",  # log of the mean bytes of these
    "numeric_options",  # share of these whose text begins with a digit, a sign or a currency
    "stem",  # log of the bytes before the first option; of all where there is none
    "last_line",  # log of bytes
)
_WHOLE = (
    "characters",  # log
    "entropy",  # of the bytes, in bits
    "ends_in_question",  # 0 or 1
    "ends_in_colon",  # 0 or 1
)
FEATURES = (*_SHARES, *_MARKS, *_WORD_FORM, *_NUMBER_FORM, *_LINE_FORM, *_WHOLE)
_PLACE = {name: place for place, name in enumerate(FEATURES)}


class SurfaceFeatures(NamedTuple):
    """The features of one text: float32 [len(FEATURES)], in the order of ``FEATURES``."""

    values: NDArray[np.float32]

    def named(self, name: str) -> float:
        """One feature by its name."""
        return float(self.values[_PLACE[name]])


def _members(of: bytes) -> NDArray[np.bool_]:
    table = np.zeros(256, np.bool_)
    table[list(of)] = True
    return table


_SHARE_TABLE = np.stack([_members(of) for of in _SHARES.values()]).astype(np.float32)
_MARK_TABLE = np.stack([_members(of) for of in _MARKS.values()]).astype(np.float32)
_SPACE, _DIGIT, _CAPITAL = _members(b" \t\n\r\x0b\x0c"), _members(_SHARES["digits"]), _members(_SHARES["capitals"])
_VARIABLE = _members(bytes(set(_SHARES["letters"]) - set(b"aAI")))
_END_OF_SENTENCE = _members(b".!?")
_CLOSES_LABEL = _members(b".):")
_BULLET = _members(b"-*")
_OPENS_QUANTITY = _members(b"0123456789-+$.\\")
_LONG, _VERY_LONG = 8, 12
_LINE_FEED, _POINT = b"\n."
# From the beginning of the line "A. text" to its text.
_LABEL = 3
_NOTHING = np.zeros(len(FEATURES), np.float32)

Bytes = NDArray[np.uint8]


def surface_features(text: str) -> SurfaceFeatures:
    """The features of a text, usually a window of one; all zero where there is nothing but spaces."""
    stripped = text.strip()
    raw = stripped.encode("utf-8", "replace")
    if not raw:
        return SurfaceFeatures(_NOTHING)
    # A line feed on both sides: then every word, number and line has a beginning and an end.
    codes = np.frombuffer(b"\n" + raw + b"\n", np.uint8)
    histogram = np.bincount(codes, minlength=256).astype(np.float32)
    histogram[_LINE_FEED] -= 2
    present = histogram[histogram > 0] / len(raw)
    values = np.empty(len(FEATURES), np.float32)
    marks = len(_SHARES) + len(_MARKS)
    values[: len(_SHARES)] = _SHARE_TABLE @ histogram / len(raw)
    values[len(_SHARES) : marks] = np.log1p(_MARK_TABLE @ histogram)
    values[marks:] = (
        *_word_form(codes),
        *_number_form(codes),
        *_line_form(codes),
        log1p(len(stripped)),
        -float(present @ np.log2(present)),
        raw.endswith(b"?"),
        raw.endswith(b":"),
    )
    return SurfaceFeatures(values)


def _count(of: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(of))


def _word_form(codes: Bytes) -> tuple[float, ...]:
    space = _SPACE[codes]
    edges = np.flatnonzero(space[1:] != space[:-1]) + 1
    starts, ends = edges[::2], edges[1::2]
    lengths, first = ends - starts, codes[starts]
    count = len(starts)
    sentences = max(1, _count(_END_OF_SENTENCE[codes[ends - 1]]))
    return (
        log1p(count),
        log1p(sentences),
        float(lengths.sum()) / count,
        _count(lengths >= _LONG) / count,
        _count(lengths >= _VERY_LONG) / count,
        log1p(int(lengths.max())),
        log1p(count / sentences),
        _count(_CAPITAL[first]) / count,
        _count(_VARIABLE[first[lengths == 1]]) / count,
    )


def _number_form(codes: Bytes) -> tuple[float, ...]:
    digit = _DIGIT[codes]
    edges = np.flatnonzero(digit[1:] != digit[:-1])
    if not len(edges):
        return 0.0, 0.0, 0.0
    # Each run reaches from after `before` to `last`. Two runs with one point between them are one decimal number.
    before, last = edges[::2], edges[1::2]
    between = before[1:][before[1:] - last[:-1] == 1]
    return log1p(len(before)), float((last - before).max()), log1p(_count(codes[between] == _POINT))


def _line_form(codes: Bytes) -> tuple[float, ...]:
    breaks = np.flatnonzero(codes == _LINE_FEED)
    starts = breaks[:-1] + 1
    lengths = breaks[1:] - starts
    first, second = codes[starts], codes[np.minimum(starts + 1, len(codes) - 1)]
    labelled = _CLOSES_LABEL[second]
    option = np.flatnonzero(_CAPITAL[first] & labelled & (lengths > 1))
    option_length = numeric = 0.0
    stem = len(codes) - 2
    if len(option):
        option_length = float(lengths[option].sum()) / len(option)
        text = codes[np.minimum(starts[option] + _LABEL, len(codes) - 1)]
        numeric = _count(_OPENS_QUANTITY[text]) / len(option)
        stem = int(starts[option[0]]) - 1
    return (
        log1p(len(starts)),
        log1p(_count(lengths == 0)),
        log1p(_count(_SPACE[first] & (lengths > 0))),
        log1p(_count(_BULLET[first])),
        log1p(_count(_DIGIT[first] & (labelled | _DIGIT[second]))),
        log1p(len(option)),
        log1p(option_length),
        numeric,
        log1p(stem),
        log1p(int(lengths[-1])),
    )
