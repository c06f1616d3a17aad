"""Whether a message only continues the task before it: "yes", "go on", "the second one", in 25 languages.

Rules of this file
- Words are data: ``data/conversation.json``, read when first needed.
- In doubt a message continues: a hard task that is taken for small talk costs more than the reverse.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

WORDS_FILE = Path(__file__).parent / "data" / "conversation.json"

# What a message does to the task before it: carries it on, adds to it, or replaces it.
CONTINUES, ADDS, REPLACES = "continues", "adds", "replaces"

# Characters of a message that may continue the one before it; of CJK a character stands for half a word.
_SHORT = 120
# Words of a bare continuation, of an answer to a question, and of a message that refers to what went before.
_BARE, _REPLY, _REFERRING = 6, 5, 8
_ASKED_WITHIN = 240

_WORD = re.compile(r"[^\s!-/:-@\[-`{-~。，、！？；：…«»“”„।¿¡؟،]+")  # noqa: RUF001 - what stands between words elsewhere
_APOSTROPHES = str.maketrans("", "", "'’")  # noqa: RUF001 - as typed
_QUESTION_MARKS = "?？؟"  # noqa: RUF001 - as typed
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]")


class _Vocabulary(NamedTuple):
    go_on: frozenset[str]
    closing: frozenset[str]
    farewell: frozenset[str]
    refers: frozenset[str]
    opens: frozenset[str]
    offers: tuple[str, ...]


@cache
def _vocabulary() -> _Vocabulary:
    words = json.loads(WORDS_FILE.read_text("utf-8"))
    go_on = frozenset(word for line in words["go_on"].values() for word in line.split())
    closing = frozenset(word for line in words["closing"].values() for word in line.split())
    farewell, refers, opens = (frozenset(words[name].split()) for name in ("farewell", "refers", "opens"))
    return _Vocabulary(go_on, closing, farewell, refers, opens, tuple(words["offers"].split("|")))


def relation(message: str, answered: str) -> str:
    """What a message that follows the assistant's answer does to the task before it.

    Returns:
        ``continues``: nothing new is asked ("yes", "continue", "the second one").
        ``adds``: it is understood only together with what went before ("make it shorter", a reply to a question).
        ``replaces``: it stands on its own, thanks and farewells included.
    """
    if len(message) > _SHORT:
        return REPLACES
    words = _WORD.findall(message.casefold().translate(_APOSTROPHES))
    known = _vocabulary()
    if not words:
        return CONTINUES
    if len(words) <= _BARE and all(word in known.go_on or word in known.closing for word in words):
        only_closes = not known.farewell.isdisjoint(words) and all(word in known.closing or len(word) == 1 for word in words)
        return REPLACES if only_closes or known.go_on.isdisjoint(words) else CONTINUES
    count = len(words) + len(_UNSPACED.findall(message)) // 2
    if count <= _REPLY and _asks(answered, known.offers) and not message.rstrip().endswith(tuple(_QUESTION_MARKS)):
        return ADDS
    if count <= _REFERRING and (words[0] in known.opens or not known.refers.isdisjoint(words)):
        return ADDS
    return REPLACES


def _asks(answered: str, offers: tuple[str, ...]) -> bool:
    """Whether an answer ends with a question about the task, and not with an offer of further help."""
    end = answered[-_ASKED_WITHIN:].rstrip().casefold()
    if not end.endswith(tuple(_QUESTION_MARKS)):
        return False
    return not any(offer in end for offer in offers)
