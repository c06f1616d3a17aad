"""What can be counted in a text without understanding it: lengths, digits, punctuation, lists, layout.

Rules of this file
- Bytes of the UTF-8 text are translated to marks, and marks are counted: no loop over characters in Python, and no arrays
  but the histogram's. Most texts are short, and a call of numpy takes as long as counting in a thousand bytes.
- Bytes above 127 count as letters, so that accented and foreign words have lengths too.
- The caller bounds the text (``TextEncoding.text``, head and tail); nothing here is bounded again.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from math import log1p, log2
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


def _members(of: bytes) -> NDArray[np.float32]:
    table = np.zeros(256, np.float32)
    table[list(of)] = 1
    return table


_LF, _SPACES, _LETTERS = b"\n", b" \t\r\x0b\x0c", _SHARES["letters"]
_NUMBER = b"0"
# What a byte is for the counts below; bytes that none of these names are letters of a word.
_MARK_OF = {
    **dict.fromkeys(_LETTERS, b"v"),  # may be a variable
    **dict.fromkeys(_SHARES["capitals"], b"V"),
    **dict.fromkeys(b"a", b"a"),
    **dict.fromkeys(b"AI", b"A"),
    **dict.fromkeys(_SHARES["digits"], _NUMBER),
    **dict.fromkeys(_SPACES, b" "),
    **{mark[0]: mark for mark in (_LF, b".")},
    **dict.fromkeys(b"!?", b"!"),
    **dict.fromkeys(b"):", b")"),
    **dict.fromkeys(b"-*", b"-"),
}
_TO_MARKS = b"".join(_MARK_OF.get(code, b"x") for code in range(256))
_LINES_TO_SPACES = bytes.maketrans(_LF, b" ")
_TO_DIGITS = bytes(ord(_NUMBER) if code in _SHARES["digits"] else ord(" ") for code in range(256))
_ALL_SPACES = _SPACES + _LF
_variables = re.compile(rb" [vV](?= )").findall
_blank_lines = re.compile(rb"\n(?=\n)").findall
_decimals = re.compile(rb"0\.(?=0)").findall
_options = re.compile(rb"\n[VA][.)]").finditer
_CAPITALISED = (b" V", b" A")
_SENTENCES = (b". ", b"! ")
_NUMBERED = (b"\n0.", b"\n0)", b"\n00")
_QUANTITIES = frozenset(bytes([code]) for code in b"0123456789-+$.\\")
_LONG, _VERY_LONG = 8, 12
# Bytes of a text from which on arrays tell the lengths of its words sooner than lists do.
_MANY = 1_000
# From the beginning of the line "A. text" to its text.
_LABEL = 3
_NOTHING = np.zeros(len(FEATURES), np.float32)
# Shares and marks are sums of the histogram, and so is the number of bytes that are spaces.
_SUMMED = np.stack([_members(of) for of in (*_SHARES.values(), *_MARKS.values(), _ALL_SPACES)])


def surface_features(text: str) -> SurfaceFeatures:
    """The features of a text, usually a window of one; all zero where there is nothing but spaces."""
    stripped = text.strip()
    raw = stripped.encode("utf-8", "replace")
    if not raw:
        return SurfaceFeatures(_NOTHING)
    histogram = np.bincount(np.frombuffer(raw, np.uint8), minlength=256).astype(np.float32)
    sums = _SUMMED @ histogram
    values = np.empty(len(FEATURES), np.float32)
    shares, marks = len(_SHARES), len(_SHARES) + len(_MARKS)
    values[:shares] = sums[:shares] / len(raw)
    values[shares:marks] = np.log1p(sums[shares:marks])
    # A line feed on both sides: then every word, number and line has a beginning and an end.
    translated = b"\n" + raw.translate(_TO_MARKS) + b"\n"
    values[marks:] = (
        *_word_form(raw, translated.translate(_LINES_TO_SPACES), len(raw) - int(sums[marks])),
        *_number_form(raw, translated),
        *_line_form(raw, translated),
        log1p(len(stripped)),
        log2(len(raw)) - float(histogram @ np.log2(np.maximum(histogram, 1))) / len(raw),
        raw.endswith(b"?"),
        raw.endswith(b":"),
    )
    return SurfaceFeatures(values)


def _counted(text: bytes, patterns: tuple[bytes, ...]) -> int:
    return sum(map(text.count, patterns))


def _word_form(raw: bytes, translated: bytes, size: int) -> tuple[float, ...]:
    """``translated`` has no line feeds; ``size`` is the bytes of all words."""
    if len(raw) > _MANY:
        spaces = np.flatnonzero(np.frombuffer(translated, np.uint8) == _SPACES[0])
        lengths = np.diff(spaces) - 1
        count = int(np.count_nonzero(lengths))
        long, very_long = (int(np.count_nonzero(lengths >= least)) for least in (_LONG, _VERY_LONG))
        longest = int(lengths.max())
    else:
        ascending = sorted(map(len, raw.split()))
        count, longest = len(ascending), ascending[-1]
        long, very_long = (count - bisect_left(ascending, least) for least in (_LONG, _VERY_LONG))
    sentences = max(1, _counted(translated, _SENTENCES))
    return (
        log1p(count),
        log1p(sentences),
        size / count,
        long / count,
        very_long / count,
        log1p(longest),
        log1p(count / sentences),
        _counted(translated, _CAPITALISED) / count,
        len(_variables(translated)) / count,
    )


def _number_form(raw: bytes, translated: bytes) -> tuple[float, ...]:
    if _NUMBER not in translated:
        return 0.0, 0.0, 0.0
    numbers = raw.translate(_TO_DIGITS).split()
    # Two runs of digits with one point between them are one decimal number.
    return log1p(len(numbers)), float(max(map(len, numbers))), log1p(len(_decimals(translated)))


def _line_form(raw: bytes, translated: bytes) -> tuple[float, ...]:
    option_length = numeric = 0.0
    stem = len(raw)
    # Where in the text the options' lines begin.
    starts = [found.start() for found in _options(translated)]
    if starts:
        ends = [translated.index(_LF, start + 1) - 1 for start in starts]
        option_length = (sum(ends) - sum(starts)) / len(starts)
        # A label at the very end has no text after it.
        numeric = sum(raw[start + _LABEL : start + _LABEL + 1] in _QUANTITIES for start in starts) / len(starts)
        stem = starts[0]
    return (
        log1p(raw.count(_LF) + 1),
        log1p(len(_blank_lines(translated))),
        log1p(translated.count(b"\n ")),
        log1p(translated.count(b"\n-")),
        log1p(_counted(translated, _NUMBERED)),
        log1p(len(starts)),
        log1p(option_length),
        numeric,
        log1p(stem),
        log1p(len(raw) - 1 - raw.rfind(_LF)),
    )
