"""How a text is worded: what the linear heads for tasks and risks read of it.

Three parts, none of which grows with the text: what it means (the static vector of the whole, of its first and of its last
word pieces), which hashed n-grams stand at its beginning and end, and what its characters and lines
look like. Training reads texts through this file too, so both see the same.
"""

from __future__ import annotations

from math import log1p

import numpy as np
from numpy.typing import NDArray

from router_extproc.analysis.encoding import TextEncoding

# The first and the last word pieces whose meaning is looked at by itself, in texts twice as long.
ENDS = 24
# Ends say again what the whole says; so they count less.
_ENDS_WEIGHT = np.float32(0.5)
# A text with few n-grams counts each as if it had this many: one word is no certainty.
_FEWEST = 4
# The Euclidean length of a text's n-grams beside a vector of length 1; 2 was better than 1 in cross-validation.
NGRAMS_WEIGHT = 2.0
_FIRST_CHARACTERS = 400
_SHORTEST, _SHORT, _LONG, _LONGEST = 25, 60, 400, 1500
_SHORT_LINE = 80
_CAPITALS = bytes(range(ord("A"), ord("Z") + 1))
_LINE_FEED, _QUESTION, _QUOTE = 10, ord("?"), ord('"')


MARKS = (
    "length",
    "lines",
    "ends_in_question",
    "questions",
    "ends_in_colon",
    "code_fence",
    "code_share",
    "code_characters",
    "digit_share",
    "digits",
    "operator_share",
    "operators",
    "quotes",
    "parentheses",
    "first_line",
    "last_line",
    "short_first_line",
    "short_last_line",
    "shortest",
    "short",
    "long",
    "longest",
    "question_in_last_line",
    "question_in_first_line",
    "bullets",
    "numbered",
    "indented",
    "escaped_line_feed",
    "capitals",
    "starts_small",
    "one_line",
    "bar",
    "address",
    "import",
    "dollar",
    "blank_line",
    "beyond_latin",
    "documents",
)


def _set_of(characters: bytes) -> NDArray[np.float32]:
    members = np.zeros(256, np.float32)
    members[list(characters)] = 1
    return members


# Code, digits, operators, and the lead bytes of UTF-8 for everything from Greek on.
_SETS = np.stack(
    [
        _set_of(b"{};=<>[]_`|&"),
        _set_of(b"0123456789"),
        _set_of(b"+*^=\\$/"),
        _set_of(bytes(range(0xCD, 0xE2)) + bytes(range(0xE3, 0xF5))),
    ]
)


def read_wording(encoding: TextEncoding, *, has_documents: bool) -> NDArray[np.float32]:
    """The dense features of a text, float32 [3 * 384 + len(MARKS)]: its meaning, that of its ends, its marks.

    Args:
        encoding: of the text.
        has_documents: whether retrieved documents stood beside it.
    """
    return np.concatenate((encoding.vector, *_ends(encoding), _marks(encoding.text, has_documents)))


def ngram_weight(count: int) -> float:
    """The value of each n-gram in a text with this many."""
    return NGRAMS_WEIGHT / float(np.sqrt(max(_FEWEST, count)))


def _ends(encoding: TextEncoding) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    ids = encoding.ids
    if len(ids) <= 2 * ENDS:
        whole = encoding.vector * _ENDS_WEIGHT
        return whole, whole
    return encoding.vector_of(ids[:ENDS]) * _ENDS_WEIGHT, encoding.vector_of(ids[-ENDS:]) * _ENDS_WEIGHT


def _marks(text: str, has_documents: bool) -> NDArray[np.float32]:  # noqa: FBT001 - private, one caller
    text = text.strip()
    raw = text.encode("utf-8", "replace")
    counts = np.bincount(np.frombuffer(raw, np.uint8), minlength=256)[:256].astype(np.float32)
    code, digits, operators, beyond = (_SETS @ counts).tolist()
    size = len(text)
    first, _, rest = text.partition("\n")
    last = text[text.rfind("\n") + 1 :]
    beginning = text[:_FIRST_CHARACTERS]
    return np.array(
        [
            log1p(size) / 8,
            log1p(counts[_LINE_FEED]) / 3,
            text.endswith("?"),
            min(counts[_QUESTION], 4) / 4,
            text.endswith(":"),
            "```" in text,
            code / (size + 20) * 10,
            min(code, 20) / 20,
            digits / (size + 10) * 5,
            min(digits, 12) / 12,
            operators / (size + 20) * 10,
            min(operators, 6) / 6,
            counts[_QUOTE] > 1,
            "(" in text and ")" in text,
            log1p(len(first)) / 8,
            log1p(len(last)) / 8,
            bool(rest) and len(first) < _SHORT_LINE,
            bool(rest) and len(last) < _SHORT_LINE,
            size < _SHORTEST,
            size < _SHORT,
            size > _LONG,
            size > _LONGEST,
            "?" in last,
            "?" in first,
            "\n- " in text or "\n* " in text,
            "\n1." in text,
            "\n    " in text or "\n\t" in text,
            "\\n" in text,
            _capitals(beginning) / (len(beginning) + 5),
            text[:1].islower(),
            not rest,
            "|" in text,
            "://" in text,
            "import " in text,
            "$" in text,
            "\n\n" in text,
            beyond > 0,
            has_documents,
        ],
        np.float32,
    )


def _capitals(text: str) -> int:
    if text.isascii():
        return len(text) - len(text.encode().translate(None, _CAPITALS))
    return sum(map(str.isupper, text))
