"""Cuts text exactly where o200k_base cuts it before it merges, by its published pattern (tiktoken, MIT).

``pretokens`` is quicker on short texts and may err; bounds rest on this. The standard library's patterns know no classes of
letters, so a text is mirrored first: each character beyond ASCII becomes one that stands for its class, at the same place.
"""

from __future__ import annotations

import re
import unicodedata

# What the tokenizer takes for white space; Python takes some controls for it as well.
_WHITE = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_is_white = re.compile(f"[{_WHITE}]").match

# What stands for each class in a mirrored text; none of these is in the endings of English below. Marks, such as accents by
# themselves, go with letters of either case, and with symbols too.
_UPPER, _LOWER, _CASELESS, _MARK, _DIGIT, _SPACE, _SYMBOL = "A", "b", "\u0101", "\u0102", "0", "\t", "!"
_UNKNOWN = "\uffff"
_CLASS_OF = {"Ll": _LOWER, "Lu": _UPPER, "Lt": _UPPER, "Cn": _UNKNOWN, "Cs": _UNKNOWN}
_CLASS_OF_GROUP = {"L": _CASELESS, "M": _MARK, "N": _DIGIT}
_LAST_ASCII = 0x7F
# Whatever else Unicode puts here is a symbol.
_EMOJI = range(0x1F000, 0x1FB00)
# It is an "s" to whoever does not tell case: (?i:'s).
_LONG_S = "\u017f"
_MOST_MIRRORED = 16_384

_WORD = f"A-Za-z0-9{_CASELESS}"
_ENDING = "(?:'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL]))?"
_PATTERN = re.compile(
    rf"[^\r\n{_WORD}]?[A-Z{_CASELESS}{_MARK}]*[a-z{_CASELESS}{_MARK}]+{_ENDING}"
    rf"|[^\r\n{_WORD}]?[A-Z{_CASELESS}{_MARK}]+[a-z{_CASELESS}{_MARK}]*{_ENDING}"
    r"|[0-9]{1,3}"
    rf"| ?[^{_WHITE}{_WORD}]+[\r\n/]*"
    rf"|[{_WHITE}]*[\r\n]+|[{_WHITE}]+(?![^{_WHITE}])|[{_WHITE}]+"
)


class _Mirror(dict[int, str]):
    """What stands for each character, found when it is first asked for."""

    def __missing__(self, point: int) -> str:
        # All of Unicode would take a hundred megabytes.
        if len(self) > _MOST_MIRRORED:
            self.clear()
        self[point] = found = _stands_for(chr(point))
        return found


_mirror = _Mirror()


def _stands_for(character: str) -> str:
    point = ord(character)
    if point <= _LAST_ASCII:
        return character
    if character == _LONG_S:
        return "s"
    if _is_white(character):
        return _SPACE
    if point in _EMOJI:
        return _SYMBOL
    category = unicodedata.category(character)
    return _CLASS_OF.get(category, _CLASS_OF_GROUP.get(category[0], _SYMBOL))


def exact_pretokens(text: str) -> list[str] | None:
    """The pre-tokens of a text; joined they are the text. None where a character is in it that Unicode does not know here,
    which may be a letter to a tokenizer that is newer, and for lone surrogates.
    """
    if text.isascii():
        return _PATTERN.findall(text)
    mirror = text.translate(_mirror)
    if _UNKNOWN in mirror:
        return None
    ends = [found.end() for found in _PATTERN.finditer(mirror)]
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]
