"""What nobody sees in a text: the letters that invisible characters spell, and the text without such characters.

Rules of this file
- Text that is plain ASCII is never handed in: it has nothing invisible.
- Invisible characters with a use are left alone: emoji with joiners and selectors, flags of England, Scotland and Wales,
  joiners in Persian, Arabic and Indic words. Taking a text without the others is one more reading of it, never a charge;
  spelling something is one.

Sources: Unicode 16, properties Default_Ignorable_Code_Point and Bidi_Control; UTS 51 (emoji tag sequences).
"""

from __future__ import annotations

import re
from typing import NamedTuple

# Tags repeat ASCII at this distance; a flag's region is three to five of them between a black flag and the tag that ends it.
_TAGS = 0xE0000
_ANY_TAG = re.compile("[\U000e0020-\U000e007e]")
_FLAG = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,5}\U000e007f")
# Variation selectors: one may follow a character. More in a row carry a byte each: 0 to 15 and 16 to 255.
_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]{4,}")
_FIRST_SELECTOR, _NEXT_SELECTOR, _FEW_SELECTORS = 0xFE00, 0xE0100, 16
# Two invisible characters in turn carry bits: no orthography puts three bytes of them in a row.
_BITS = re.compile("[\u200b-\u200f\u2060-\u2064\ufeff]{24,}")
# Letters that make hidden characters a message.
_FEWEST_LETTERS = 4
_PRINTED = 0.9

# Characters without width or meaning for who reads; soft hyphens, joiners' relatives, fillers, direction marks.
_WIDTHLESS = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0"
)
# Joiners and selectors belong to many scripts and to emoji, but not between these letters: Latin, Greek, Cyrillic.
_ALPHABETIC = "A-Za-z\u00c0-\u024f\u0370-\u052f"
_JOINING = "\u200c\u200d\ufe00-\ufe0f"
_IN_WORDS = re.compile(
    f"\\w[{_WIDTHLESS}]|[{_WIDTHLESS}]\\w|[{_ALPHABETIC}][{_JOINING}]+[{_ALPHABETIC}]"
    f"|[\U0001f1e6-\U0001f1ff][{_WIDTHLESS}{_JOINING}][\U0001f1e6-\U0001f1ff]"
)
_DROPPED = re.compile(
    f"[{_WIDTHLESS}\U000e0000-\U000e007f\U000e0100-\U000e01ef]|(?<=[{_ALPHABETIC} \U0001f1e6-\U0001f1ff])[{_JOINING}]+"
)
# One of these at least is in every text that hides something here.
_SUSPECT = re.compile(f"[{_WIDTHLESS}{_JOINING}\U000e0000-\U000e007f\U000e0100-\U000e01ef]")
# What stands between a right-to-left override and its end is seen from its end.
_OVERRIDDEN = re.compile("\u202e([^\u202c\n]*)")


class Unhidden(NamedTuple):
    """The text as it is seen, and what its invisible characters spell (empty: nothing that can be read)."""

    seen: str
    spelt: str


def unhidden(text: str) -> Unhidden:
    """Tells what is seen of a text from what is not."""
    # The characters that occur are few: most texts are known to hide nothing by a look at these alone.
    if _SUSPECT.search("".join(set(text))) is None:
        return Unhidden(text, "")
    bare = _FLAG.sub("\U0001f3f4", text)
    spelt = " ".join(filter(_is_message, (_in_tags(bare), *_in_selectors(bare), *_in_bits(bare))))
    if not spelt and _IN_WORDS.search(bare) is None:
        return Unhidden(text, "")
    overridden = _OVERRIDDEN.sub(lambda match: match[1][::-1], _BITS.sub("", _SELECTORS.sub("", bare)))
    return Unhidden(_DROPPED.sub("", overridden), spelt)


def _in_tags(text: str) -> str:
    return "".join(chr(ord(tag) - _TAGS) for tag in _ANY_TAG.findall(text))


def _in_selectors(text: str) -> list[str]:
    return [bytes(map(_byte_of, run)).decode("utf-8", "replace") for run in _SELECTORS.findall(text)]


def _byte_of(selector: str) -> int:
    code = ord(selector)
    return code - _FIRST_SELECTOR if code < _NEXT_SELECTOR else code - _NEXT_SELECTOR + _FEW_SELECTORS


def _in_bits(text: str) -> list[str]:
    """Either of the two characters may be the one."""
    found = []
    for run in _BITS.findall(text):
        kinds = sorted(set(run))
        if len(kinds) == 2:  # noqa: PLR2004 - bits
            bits = ["".join("01"[character == one] for character in run) for one in kinds]
            found += [_bytes(row).decode("utf-8", "replace") for row in bits]
    return found


def _bytes(bits: str) -> bytes:
    return bytes(int(bits[place : place + 8], 2) for place in range(0, len(bits) - 7, 8))


def _is_message(text: str) -> bool:
    """Whether somebody could read it: letters enough, and hardly anything that is not printed."""
    printed = sum(character.isprintable() and character != "\ufffd" for character in text)
    return sum(map(str.isalpha, text)) >= _FEWEST_LETTERS and printed >= _PRINTED * len(text)
