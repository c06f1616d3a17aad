"""How much of a long text is looked at: its beginning and its end, where requests state what they want."""

from __future__ import annotations

from typing import NamedTuple

# Characters. About 2,000 and 1,000 tokens of English: a text of ten pages is read whole.
HEAD, TAIL = 8_000, 4_000
# A cut moves to a space this near, in characters, so that no word is cut in two.
_NEAR = 40


class Window(NamedTuple):
    """What is looked at of a text."""

    text: str
    truncated: bool


def head_and_tail(text: str, head: int = HEAD, tail: int = TAIL) -> Window:
    """The first `head` and the last `tail` characters of a text, a blank line between them; short texts stay whole."""
    if len(text) <= head + tail:
        return Window(text, truncated=False)
    end = text.rfind(" ", max(0, head - _NEAR), head)
    start = text.find(" ", len(text) - tail, len(text) - tail + _NEAR)
    first = text[: end if end >= 0 else head]
    last = text[start + 1 if start >= 0 else len(text) - tail :]
    return Window(f"{first}\n\n{last}", truncated=True)
