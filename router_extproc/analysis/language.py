"""The language that a request is written in: by its script, and by letters and words where languages share one.

Rules of this file
- The language is that of the request, not of what it is about: "Translate to French: ..." is English, and so is an English
  question about a German text.
- Too little text says nothing: then the language is None.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from router_extproc.analysis.language_table import LONGEST, LanguageTable, language_table
from router_extproc.analysis.slice_hashes import code_points

# Characters that are looked at: of a long text its beginning and its end.
_HEAD, _TAIL = 280, 120
_MOST_SEGMENTS = 12
# Sentences, quotations and lines: within these the language seldom changes.
_SEGMENTS = re.compile(r"[\n\r]+|(?<=[.!?:;])\s+|[\"“”„«»「」『』]+|(?<=[。！？：；])")  # noqa: RUF001 - as written elsewhere
# The same in plain ASCII, where the mark itself may go with the space after it: words are looked at, not marks.
_ASCII_SEGMENTS = re.compile(r"[.!?:;]\s+|[\n\r\"]+")
_ASCII_LETTERS = {code: " " for code in range(128) if not (chr(code).isalpha() or chr(code) == "'")}
# Signs that editors and people put into plain texts (quotation marks, dashes, arrows, emojis), as what they stand for there.
_SIGNS = {
    **{
        code: " "
        for first, last in ((0xA0, 0xF7), (0x2000, 0x2BFF), (0x1F000, 0x1FAFF))
        for code in range(first, last + 1)
        if not chr(code).isalpha()
    },
    **{ord(sign): '"' for sign in "“”„«»"},
    **dict.fromkeys(map(ord, "\u2028\u2029"), "\n"),
    0xFE0F: " ",
    ord("’"): "'",  # noqa: RUF001 - as typed
}
# What stands between words, LaTeX commands included; Indic and Thai vowel signs belong to words.
SEPARATORS = re.compile(r"(?:\\[a-z]+|[^\w'\u0900-\u0eff]|[\d_])+")
_QUOTES = "\"'“„«「『‘"  # noqa: RUF001 - as typed

_OTHER = "other"
# Where scripts begin, as far as languages are told by them.
_RANGES: tuple[tuple[int, str], ...] = (
    (0x00, _OTHER),
    (0x41, "latin"),
    (0x2B0, _OTHER),
    (0x370, "el"),
    (0x400, "cyrillic"),
    (0x530, "hy"),
    (0x590, "he"),
    (0x600, "arabic"),
    (0x700, _OTHER),
    (0x900, "devanagari"),
    (0x980, "bn"),
    (0xA00, "pa"),
    (0xA80, "gu"),
    (0xB00, _OTHER),
    (0xB80, "ta"),
    (0xC00, "te"),
    (0xC80, "kn"),
    (0xD00, "ml"),
    (0xD80, "si"),
    (0xE00, "th"),
    (0xE80, "lo"),
    (0xF00, _OTHER),
    (0x1000, "my"),
    (0x10A0, "ka"),
    (0x1100, "ko"),
    (0x1200, "am"),
    (0x1380, _OTHER),
    (0x1780, "km"),
    (0x1800, _OTHER),
    (0x1E00, "latin"),
    (0x1F00, "el"),
    (0x2000, _OTHER),
    (0x3040, "ja"),
    (0x3100, _OTHER),
    (0x3400, "zh"),
    (0xA000, _OTHER),
    (0xAC00, "ko"),
    (0xD7B0, _OTHER),
    (0xF900, "zh"),
    (0xFB00, _OTHER),
    (0xFB1D, "he"),
    (0xFB50, "arabic"),
    (0xFE00, _OTHER),
    (0x20000, "zh"),
    (0x2FFFF, _OTHER),
)
_STARTS = np.array([start for start, _ in _RANGES], np.uint32)
_SCRIPTS = sorted({script for _, script in _RANGES})
_SCRIPT_OF = np.array([_SCRIPTS.index(script) for _, script in _RANGES], np.intp)
_JAPANESE, _CHINESE = _SCRIPTS.index("ja"), _SCRIPTS.index("zh")
# A Japanese text has at least one kana for so many Chinese characters.
_CHINESE_FOR_EACH_KANA = 8
# A character of these writes about a syllable or a word: it weighs as many letters.
_WEIGHTS = np.ones(len(_SCRIPTS))
_WEIGHTS[[_SCRIPTS.index("zh"), _SCRIPTS.index("ja"), _SCRIPTS.index("ko")]] = 3.0
_WEIGHTS[_SCRIPTS.index(_OTHER)] = 0.0

# Sequences of letters overlap, so their evidence counts several times: by so much it is divided.
_OVERLAP = 2.0
# Letters of a text of which something can be said, with the confidence that shorter and longer ones need.
_FEWEST, _SHORT = 3, 12
_CONFIDENT_IF_SHORT, _CONFIDENT = 0.85, 0.5
# Letters and confidence of a segment in a language of its own.
_SEGMENT, _CONFIDENT_SEGMENT = 10, 0.95


# English is told by its own words: their least number, their least share in every segment, and how sure that is.
_OWN_WORDS, _OWN_SHARE = 3, 0.3
_PLAINLY = 0.99


class Language(NamedTuple):
    """What language a text is written in.

    Attributes:
        code: ISO 639-1 of the request itself; None where there is too little text.
        confidence: 0 to 1.
        mixed: further languages of whole sentences or quotations, most of them first.
    """

    code: str | None
    confidence: float
    mixed: tuple[str, ...] = ()


class _Guess(NamedTuple):
    code: str
    confidence: float
    letters: float


def detect_language(text: str) -> Language:
    """The language of a request; long ones are judged by their beginning and end."""
    if len(text) > _HEAD + _TAIL:
        text = f"{text[:_HEAD]}\n{text[-_TAIL:]}"
    plain = text if text.isascii() else text.translate(_SIGNS)
    parts = _parts(plain)
    if not parts:
        return Language(None, 0.0)
    if plain.isascii() and _is_plainly_english(parts):
        return Language("en", _PLAINLY)
    guesses = _guesses(parts)
    whole = guesses[-1]
    if whole is None or whole.letters < _FEWEST:
        return Language(None, 0.0)
    clear = _clear(guesses[:-1])
    if len({guess.code for guess in clear}) > 1:
        # What is asked stands first, unless that is a quotation.
        asked = clear[-1] if text.lstrip()[:1] in _QUOTES else clear[0]
        others = sorted((guess for guess in clear if guess.code != asked.code), key=lambda guess: -guess.letters)
        return Language(asked.code, asked.confidence, tuple(dict.fromkeys(guess.code for guess in others)))
    needed = _CONFIDENT_IF_SHORT if whole.letters < _SHORT else _CONFIDENT
    return Language(whole.code if whole.confidence >= needed else None, whole.confidence)


def _parts(text: str) -> list[str]:
    """The words of each segment that has any, of so many segments as are looked at."""
    if text.isascii() and "\\" not in text:
        # Most texts are plain, and this takes a third of the time.
        split = [segment.lower().translate(_ASCII_LETTERS).split() for segment in _ASCII_SEGMENTS.split(text)]
        return [f" {' '.join(words)} " for words in split if words][:_MOST_SEGMENTS]
    parts = [_words(segment) for segment in _SEGMENTS.split(text) if segment]
    return [part for part in parts if part][:_MOST_SEGMENTS]


def _words(segment: str) -> str:
    """The words of a segment, lower case, a blank around each."""
    words = SEPARATORS.sub(" ", segment.replace("’", "'").lower()).strip()  # noqa: RUF001 - as typed
    return f" {words} " if words else ""


def _is_plainly_english(parts: list[str]) -> bool:
    """Whether words that only English has stand nearly everywhere: what most requests are, told in a fraction of the time.

    Of the parts that lack such words, which are to be fewer, none may be clearly of another language.
    """
    english, own, strange = language_table().english, 0, []
    for part in parts:
        words = part.split()
        found = sum(word in english for word in words)
        if len(part) > _SEGMENT and found < _OWN_SHARE * len(words):
            strange.append(part)
        else:
            own += found
    if own < _OWN_WORDS or 2 * sum(map(len, strange)) > sum(map(len, parts)):
        return False
    return not strange or all(guess.code == "en" for guess in _clear(_guesses(strange)[:-1]))


def _clear(guesses: Iterable[_Guess | None]) -> list[_Guess]:
    """Those of which one can be sure."""
    return [guess for guess in guesses if guess and guess.letters >= _SEGMENT and guess.confidence >= _CONFIDENT_SEGMENT]


def _guesses(parts: list[str]) -> list[_Guess | None]:
    """A guess for each part, and for all of them together."""
    table = language_table()
    points = code_points("".join(parts)[:LONGEST])
    groups = np.repeat(np.arange(len(parts)), [len(part) for part in parts])[: len(points)]
    scripts = _SCRIPT_OF[np.searchsorted(_STARTS, points, side="right") - 1]
    counts = np.bincount(groups * len(_SCRIPTS) + scripts, minlength=len(parts) * len(_SCRIPTS)).reshape(len(parts), -1)
    letters = np.vstack([counts, counts.sum(0)]) * _WEIGHTS
    said = _evidence(table, points, groups, len(parts))
    scores = np.vstack([said, said.sum(0)]) / _OVERLAP + table.priors
    return _by_script(table, letters, scores)


def _evidence(table: LanguageTable, points: NDArray[np.uint32], groups: NDArray[np.intp], count: int) -> NDArray[np.float32]:
    """What sequences of one to three letters, and words with the blanks around them, say about each part."""
    sums = table.prefix_sums(points)
    places = np.arange(len(points))
    starts = [places[: len(points) - size + 1] for size in (1, 2, 3)]
    ends = [start + size for start, size in zip(starts, (1, 2, 3), strict=True)]
    blanks = np.flatnonzero(points == ord(" "))
    words = np.diff(blanks) > 2  # noqa: PLR2004 - a word of one letter is a sequence of three already
    starts.append(blanks[:-1][words])
    ends.append(blanks[1:][words] + 1)
    first = np.concatenate(starts)
    return table.evidence(sums, first, np.concatenate(ends), groups[first], count)


def _by_script(table: LanguageTable, letters: NDArray[np.float64], scores: NDArray[np.floating]) -> list[_Guess | None]:
    """A guess for each row: by its likeliest script, and among the languages that share it by their scores."""
    totals, scripts = letters.sum(1).tolist(), letters.argmax(1)
    mostly_chinese = np.flatnonzero(scripts == _CHINESE)
    kana = letters[mostly_chinese, _JAPANESE] * _CHINESE_FOR_EACH_KANA >= letters[mostly_chinese, _CHINESE]
    scripts[mostly_chinese[kana]] = _JAPANESE
    guesses: list[_Guess | None] = [None] * len(totals)
    for script in set(scripts.tolist()):
        rows = np.flatnonzero(scripts == script)
        columns = table.scripts.get(_SCRIPTS[script])
        if columns is None:
            same = letters[rows, script] + (letters[rows, _CHINESE] if script == _JAPANESE else 0.0)
            for row, letters_of_it in zip(rows.tolist(), same.tolist(), strict=True):
                guesses[row] = _Guess(_SCRIPTS[script], letters_of_it / totals[row], totals[row]) if totals[row] else None
            continue
        among = scores[rows, columns]
        best = among.argmax(1)
        confidences = 1 / np.exp(among - among.max(1, keepdims=True)).sum(1)
        languages = table.languages[columns]
        for row, language, confidence in zip(rows.tolist(), best.tolist(), confidences.tolist(), strict=True):
            guesses[row] = _Guess(languages[language], confidence, totals[row]) if totals[row] else None
    return guesses
