"""Other readings of a text that may hide an attack: invisible and look-alike letters, encodings, text spelt or turned round.

Rules of this file
- Plain ASCII without a sign of an encoding costs a few searches for a character and yields nothing.
- A disguise is no charge by itself, for much that is encoded is harmless: what it hides is read like any other text. Only a
  message in characters that nobody sees is a charge, whatever it says.
- What cannot be read as text after decoding (pictures, hashes, keys) is left as it is.
- Decoded once: what is encoded twice stays hidden, and costs nothing.
"""

from __future__ import annotations

import binascii
import codecs
import re
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from router_extproc.analysis.injection_invisible import unhidden
from router_extproc.analysis.injection_letters import plain_letters
from router_extproc.analysis.injection_rules import ENCODED, IN_PAIRS, REPEATED, SPELLED_OUT

HIDDEN, DISGUISED, ROT13, REVERSED, LEET = "hidden_text", "disguised_text", "rot13_text", "reversed_text", "leet_text"

# Long words of Base64 (either alphabet) or hexadecimal; how many are decoded, and how much of each.
_LONG_WORD = re.compile(r"(?<![\w+/=-])[A-Za-z0-9+/_-]{16,}={0,2}")
_LONG = 24
_HEXADECIMAL = re.compile(r"[0-9a-fA-F]+")
_MOST_WORDS, _LONGEST_WORD = 16, 8_192
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_LETTERS_OF_A_WORD = 4
# Bytes written as numbers, one after the other: binary, hexadecimal, decimal.
_BINARY = re.compile(r"(?<!\w)(?:[01]{8}[ ,;]*){6,}(?!\w)")
_PAIRS = re.compile(r"(?<!\w)(?:(?:0x)?[0-9a-fA-F]{2}[ ,:;]{1,2}){8,}[0-9a-fA-F]{2}(?!\w)")
_DECIMAL = re.compile(r"(?<!\w)(?:[1-9][0-9]{1,2}[ ,;]{1,2}){8,}[1-9][0-9]{1,2}(?!\w)")
# Escapes of programming languages, HTML and addresses.
_ESCAPE = re.compile(r"\\x([0-9a-fA-F]{2})|\\u([0-9a-fA-F]{4})|&#([0-9]{2,6});|&#x([0-9a-fA-F]{2,5});")
_PERCENT = re.compile(r"(?:%[0-9a-fA-F]{2})+")
_FEWEST_ESCAPES = 4
# Single letters with something between them.
_SINGLE_LETTERS = re.compile(r"(?<!\w)(?:\w\W{1,3}){7,}\w(?!\w)")
# Figures and signs that stand for letters, inside words.
_LEET_SIGN = re.compile(r"[013457@$](?=[A-Za-z])")
_LEET_INSIDE = re.compile(r"[A-Za-z][013457@$][A-Za-z]")
_LEET_WORD = re.compile(r"(?<![\w$@])[\w$@]*[A-Za-z][\w$@]*")
_LEET_LETTERS = str.maketrans("013457@$", "oieastas")
_FEWEST_SIGNS, _FEWEST_INSIDE = 4, 2
# Of decoded bytes: how many are printed, how many are letters or spaces.
_PRINTED, _LETTERS, _SHORTEST = 0.97, 0.7, 6


class Disguise(NamedTuple):
    """Another reading of a text, and how it was hidden."""

    name: str
    text: str


def disguises(text: str, met: Collection[str]) -> Iterator[Disguise]:
    """Every other reading of a text.

    Args:
        text: as it was sent.
        met: the names of the rules that the text meets as it stands.
    """
    seen, spelt = text, ""
    is_ascii = text.isascii()
    if not is_ascii:
        seen, spelt = unhidden(text)
        seen = plain_letters(seen)
    if spelt:
        yield Disguise(HIDDEN, spelt)
    seen = _decoded(seen, met, is_ascii=is_ascii)
    if seen != text:
        yield Disguise(DISGUISED, seen)
    if ROT13 in met:
        yield Disguise(ROT13, codecs.encode(text, "rot13"))
    if REVERSED in met:
        yield Disguise(REVERSED, text[::-1])
    if len(_LEET_SIGN.findall(seen)) >= _FEWEST_SIGNS and len(_LEET_INSIDE.findall(seen)) >= _FEWEST_INSIDE:
        yield Disguise(LEET, _LEET_WORD.sub(lambda match: match[0].translate(_LEET_LETTERS), seen))


def _decoded(text: str, met: Collection[str], *, is_ascii: bool) -> str:
    """The text with what is encoded in it decoded in its place."""
    if "\\x" in text or "\\u" in text or "&#" in text:
        text = _unescaped(text)
    if text.count("%") >= _FEWEST_ESCAPES:
        text = _PERCENT.sub(lambda match: _read(bytes.fromhex(match[0].replace("%", ""))) or match[0], text)
    # That rule looks at plain ASCII alone.
    if ENCODED in met or (not is_ascii and any(len(word) >= _LONG and word.isascii() for word in text.split())):
        text = _replaced(_LONG_WORD, text, _of_long_word)
    if REPEATED in met:
        text = _replaced(_BINARY, text, lambda digits: _of_bits(re.sub(r"[ ,;]", "", digits)))
        text = _replaced(_DECIMAL, text, lambda row: bytes(int(figure) & 0xFF for figure in re.findall(r"\d+", row)))
    if IN_PAIRS in met:
        text = _replaced(_PAIRS, text, lambda row: bytes.fromhex("".join(re.findall(r"[0-9a-fA-F]{2}", row.replace("0x", "")))))
    if SPELLED_OUT in met:
        text = _SINGLE_LETTERS.sub(lambda match: _joined(match[0]), text)
    return text


def _unescaped(text: str) -> str:
    if len(_ESCAPE.findall(text)) < _FEWEST_ESCAPES:
        return text

    def character(match: re.Match[str]) -> str:
        decimal = match[3]
        code = int(decimal) if decimal else int(match[1] or match[2] or match[4], 16)
        return chr(code) if code <= 0x10FFFF else match[0]  # noqa: PLR2004 - the last code point

    return _ESCAPE.sub(character, text)


def _replaced(pattern: re.Pattern[str], text: str, decode: Callable[[str], bytes | None]) -> str:
    """The text with all that matches decoded, where it can be read then."""

    def decoded(match: re.Match[str]) -> str:
        data = decode(match[0][:_LONGEST_WORD])
        return match[0] if data is None else _read(data) or match[0]

    return pattern.sub(decoded, text, count=_MOST_WORDS)


def _of_long_word(word: str) -> bytes | None:
    if _HEXADECIMAL.fullmatch(word) and len(word) % 2 == 0:
        return bytes.fromhex(word)
    spaced = _CAMEL.sub(" ", word)
    bare = word.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        data = binascii.a2b_base64(bare + "=" * (-len(bare) % 4))
    except binascii.Error:
        data = b""
    if _read(data):
        return data
    # Words written together begin with capitals, and are no shorter than words are.
    is_words = word.isalpha() and len(word) >= _LETTERS_OF_A_WORD * len(spaced.split())
    return spaced.encode() if is_words else None


def _of_bits(digits: str) -> bytes:
    return bytes(int(digits[place : place + 8], 2) for place in range(0, len(digits) - 7, 8))


def _read(data: bytes) -> str:
    """Decoded bytes as text; empty where nobody could read it."""
    text = data.decode("utf-8", "replace")
    if len(text) < _SHORTEST:
        return text if text.isascii() and text.isprintable() else ""
    printed = sum(character.isprintable() or character.isspace() for character in text) - text.count("\ufffd")
    letters = sum(character.isalpha() or character.isspace() for character in text)
    return text if printed >= _PRINTED * len(text) and letters >= _LETTERS * len(text) else ""


def _joined(letters: str) -> str:
    """Letters one by one, joined to words: what stands between most letters is nothing, anything else ends a word."""
    between = re.findall(r"\W+", letters)
    usual = max(set(between), key=between.count)
    characters = re.findall(r"\w", letters)
    gaps = ["" if gap == usual else " " for gap in between]
    return "".join(character + gap for character, gap in zip(characters, [*gaps, ""], strict=True))
