"""Writes the token table from the vocabulary of o200k_base, as tiktoken and its caches keep it.

Usage: python scripts/build_token_table.py VOCABULARY

VOCABULARY is the file o200k_base.tiktoken (MIT, https://github.com/openai/tiktoken), lines of base64 and rank.
"""

from __future__ import annotations

import base64
import hashlib
import sys
import unicodedata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from router_extproc.analysis import pretokens, slice_hashes, token_table

# As tiktoken checks it.
SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
_CLASS_OF = {"Ll": pretokens.LOWER, "Lu": pretokens.UPPER, "Lt": pretokens.UPPER}
_CLASS_OF_GROUP = {"L": pretokens.CASELESS, "M": pretokens.CASELESS, "N": pretokens.DIGIT}
_MOST_MOVES = 2_000


def class_of(code_point: int) -> int:
    """The class of one code point."""
    character = chr(code_point)
    if character in "\r\n":
        return pretokens.NEWLINE
    if character.isspace() and not 0x1C <= code_point <= 0x1F:  # noqa: PLR2004 - white space to Python alone
        return pretokens.SPACE
    category = unicodedata.category(character)
    return _CLASS_OF.get(category, _CLASS_OF_GROUP.get(category[0], pretokens.SYMBOL))


def class_runs() -> NDArray[np.uint32]:
    """Where runs of equal classes begin, and their classes: [2, runs]."""
    classes = np.array([class_of(code_point) for code_point in range(pretokens.CODE_POINTS)], np.uint32)
    starts = np.flatnonzero(np.diff(classes, prepend=99))
    return np.stack([starts.astype(np.uint32), classes[starts]])


def read_tokens(vocabulary: Path) -> list[str]:
    """The tokens that are text; those that are parts of characters are left out."""
    content = vocabulary.read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise SystemExit(f"{vocabulary} is not o200k_base")
    tokens = []
    for line in content.splitlines():
        token = base64.b64decode(line.split()[0])
        try:
            tokens.append(token.decode())
        except UnicodeDecodeError:
            continue
    return tokens


def fingerprints(tokens: list[str], classes: NDArray[np.uint32]) -> NDArray[np.uint16]:
    """The cuckoo table: each token's fingerprint at one of its two places."""
    places = 1 << token_table.PLACE_BITS
    empty = token_table.TokenTable(np.zeros(2 * places, np.uint16), classes)
    table: list[int | None] = [None] * (2 * places)
    for token in tokens:
        points = slice_hashes.code_points(token)
        moving = int(empty.hashes(empty.prefix_sums(points), np.array([0]), np.array([len(points)]))[0])
        place = moving >> (64 - token_table.PLACE_BITS)
        for _ in range(_MOST_MOVES):
            resident = table[place]
            table[place] = moving
            if resident is None or resident == moving:
                break
            moving = resident
            first = moving >> (64 - token_table.PLACE_BITS)
            second = ((moving >> (64 - 2 * token_table.PLACE_BITS)) & (places - 1)) + places
            place = second if place == first else first
        else:
            raise SystemExit("The table is too full: choose another base.")
    # An empty place answers to the fingerprint 0, as one token in 65,536 does anyway.
    return np.array([0 if resident is None else resident & 0xFFFF for resident in table], np.uint16)


def main() -> None:
    """Writes both files."""
    if len(sys.argv) != 2:  # noqa: PLR2004 - the program and its argument
        raise SystemExit(__doc__)
    tokens, classes = read_tokens(Path(sys.argv[1])), class_runs()
    np.save(token_table.FOLDER / token_table.CLASSES_FILE, classes)
    np.save(token_table.FOLDER / token_table.FINGERPRINTS_FILE, fingerprints(tokens, classes))
    print(f"{len(tokens)} tokens")


if __name__ == "__main__":
    main()
