"""Texts made to be more tokens than they look, or much work to count; each is the same on every machine."""

from __future__ import annotations

import base64
import random

from router_extproc.analysis.token_count import _NEAR, _WINDOW, _WINDOWS, text_tokens

_GOLDEN_RATIO = 0.618


def hidden_from_samples(characters: int) -> str:
    """Text whose sampled places hold the cheapest words, and all else characters of one token a byte."""
    text = [chr(0x13000 + place % 0x400) for place in range(characters)]
    cheap = (" international" * (_WINDOW // 8))[: _WINDOW + 2 * _NEAR]
    for number in range(_WINDOWS):
        start = int((characters - _WINDOW) * (number + number * _GOLDEN_RATIO % 1) / _WINDOWS)
        text[start : start + len(cheap)] = cheap
    found = "".join(text[:characters])
    # The sample is what this is made against: were it taken elsewhere, the text would be none of its kind.
    assert text_tokens(found) < characters
    return found


def _drawn(seed: int, letters: str, length: int) -> str:
    chance = random.Random(seed)  # noqa: S311 - draws letters
    return "".join(chance.choice(letters) for _ in range(length))


def _any_unicode(length: int) -> str:
    chance = random.Random(5)  # noqa: S311 - draws characters
    blocks = [(0x20, 0xD800), (0xE000, 0xFFFE), (0x10000, 0x20000)]
    return "".join(chr(chance.randrange(*chance.choice(blocks))) for _ in range(length))


TEXTS = {
    "hidden from samples": hidden_from_samples(20_000),
    "rare script": "".join(chr(0x1200 + place * 7 % 0x150) for place in range(600)),
    "hieroglyphs": "".join(map(chr, range(0x13000, 0x13400))),
    "burmese without blanks": "မြန်မာနိုင်ငံ" * 30,
    "emoji families": "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466" * 60,
    "emoji of several skins": "".join(f"\U0001f44d{chr(0x1F3FB + place % 5)}" for place in range(150)),
    "flags": "".join(chr(0x1F1E6 + place * 11 % 26) for place in range(300)),
    "combining marks": "a" + "\u0301\u0327\u0330" * 120,
    "symbols with marks": "!?\ufe0f" * 120,
    "any characters": _any_unicode(3_000),
    "base64": base64.b64encode(random.Random(7).randbytes(3_000)).decode(),  # noqa: S311 - draws bytes
    "hexadecimal": random.Random(8).randbytes(4_000).hex(),  # noqa: S311 - draws bytes
    "genes": _drawn(1, "ACGT", 1_500),
    "small letters": _drawn(2, "qxzjkvw", 1_500),
    "mixed case": _drawn(3, "aBcDeFxYzQ", 2_000),
    "punctuation": _drawn(4, "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", 1_500),
    "one letter": "q" * 1_500,
    "one letter and a blank": "q " * 3_000,
    "blanks": " " * 1_500,
    "blanks and a word": " " * 1_499 + "word",
    "line ends": "\n" * 1_500,
    "lines of blanks": "  \n\t\r\n" * 250,
    "slashes after lines": "word\n/path;\n//\n/" * 400,
    "apostrophes": "'s'S'\u017f'll'LLx" * 400,
    "strange blanks": "a\u00a0b\u2003\u3000c\u2028d\u0085\x1ce\x1f" * 300,
    "controls": "".join(map(chr, range(32))) * 100,
    "digits of the world": "12٣٤५६①½Ⅷ" * 300,
    "titles": "ǅǈǋ" * 120,
}
