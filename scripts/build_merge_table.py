"""Writes the merge table from the vocabulary of o200k_base, as tiktoken and its caches keep it.

Usage: python scripts/build_merge_table.py VOCABULARY

VOCABULARY is the file o200k_base.tiktoken (MIT, https://github.com/openai/tiktoken), lines of base64 and rank.
"""

from __future__ import annotations

import base64
import hashlib
import random
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from router_extproc.analysis import merge_table
from router_extproc.analysis.token_table import FOLDER

# As tiktoken checks it.
SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
_MOST_MOVES = 20_000


def read_ranks(vocabulary: Path) -> dict[bytes, int]:
    """The rank of each token."""
    content = vocabulary.read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise SystemExit(f"{vocabulary} is not o200k_base")
    lines = (line.split() for line in content.splitlines())
    return {base64.b64decode(token): int(rank) for token, rank in lines}


def halves(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    """The two tokens that merge into this one: what its bytes come to by the merges that rank before it."""
    parts = [token[place : place + 1] for place in range(len(token))]
    while len(parts) > 2:  # noqa: PLR2004 - halves
        joined = [ranks.get(left + right, ranks[token]) for left, right in pairwise(parts)]
        place = joined.index(min(joined))
        if joined[place] >= ranks[token]:
            raise SystemExit(f"{token!r} is not made of two tokens")
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    left, right = parts
    # What a merge makes ranks above both: all that counts tokens by these merges rests on it.
    if max(ranks[left], ranks[right]) >= ranks[token]:
        raise SystemExit(f"{token!r} ranks before what it is made of")
    return left, right


def fill(entries: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The table: each entry at one of the places of its pair."""
    chance = random.Random(1)  # noqa: S311 - which entry moves on
    bits = np.uint64(merge_table.TOKEN_BITS)
    table = [merge_table.EMPTY] * (1 << merge_table.PLACE_BITS)
    where = {
        entry: tuple(places)
        for entry, *places in zip(entries.tolist(), *(one.tolist() for one in merge_table.places(entries >> bits)), strict=True)
    }
    for entry in where:
        moving = entry
        for _ in range(_MOST_MOVES):
            free = next((place for place in where[moving] if table[place] == merge_table.EMPTY), None)
            if free is not None:
                table[free] = moving
                break
            place = chance.choice(where[moving])
            table[place], moving = moving, table[place]
        else:
            raise SystemExit("The table is too full: choose another multiplier.")
    return np.array(table, np.uint64)


def main() -> None:
    """Writes both files."""
    if len(sys.argv) != 2:  # noqa: PLR2004 - the program and its argument
        raise SystemExit(__doc__)
    ranks = read_ranks(Path(sys.argv[1]))
    made = [(*halves(token, ranks), rank) for token, rank in ranks.items() if len(token) > 1]
    left = np.array([ranks[one] for one, _, _ in made])
    right = np.array([ranks[other] for _, other, _ in made])
    rank = np.array([rank for _, _, rank in made], np.uint64)
    entries = (merge_table.pair_keys(left, right) << np.uint64(merge_table.TOKEN_BITS)) | rank
    np.save(FOLDER / merge_table.MERGES_FILE, fill(entries))
    np.save(FOLDER / merge_table.BYTES_FILE, np.array([ranks[bytes([byte])] for byte in range(256)], np.uint32))
    print(f"{len(made)} merges")


if __name__ == "__main__":
    main()
