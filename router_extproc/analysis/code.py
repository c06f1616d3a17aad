"""Whether a text holds program code: a fence, one unmistakable construct, or several lines that look like code.

Plain substring searches come first and regular expressions are only tried where one of them hit: a chat message costs
about a microsecond.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# The newest characters of a conversation; more would only cost time.
_LOOKED_AT = 4_000
_LINES_LOOKED_AT = 200
_ENOUGH_LINES = 3

# A single character is looked for an order of magnitude faster than three.
_FENCES = {"`": "```", "~": "~~~"}
# Hardly any code does without one of these, and most prose has none: the cheap way out.
_HINTS = ("(", "{", ";", "=", "#include", "SELECT ")

_NAME_AND_BRACKET = r"[ \t]+\w{1,80}[ \t]*(?:<[^<>\n]{1,80}>)?[ \t]*[({]"
_DECLARATION = r"[ \t]+(?:static[ \t]+|final[ \t]+)*[\w<>\[\]]{1,80}[ \t]+\w{1,80}[ \t]*[(=;{]"
_CLASS_BODY = r"[ \t]*(?:\{|:[ \t]*(?:\n|$)|\([^()\n]{0,120}\)[ \t]*:)"
# What to look for, and what must stand there.
_CONSTRUCTS = {
    mark: re.compile(re.escape(mark.rstrip()) + rest)
    for mark, rest in {
        "def ": r"[ \t]+\w{1,80}[ \t]*\(",
        "fn ": _NAME_AND_BRACKET,
        "func ": r"[ \t]+(?:\([^()\n]{1,80}\)[ \t]*)?\w{1,80}[ \t]*\(",
        "function ": r"[ \t]+(?:\w{1,80}\(|\([^()\n]{0,120}\)[ \t]*\{)",
        "function(": "",
        "class ": r"[ \t]+\w{1,80}(?:[ \t]+(?:extends|implements)[ \t]+\w{1,80})?" + _CLASS_BODY,
        "public ": _DECLARATION,
        "private ": _DECLARATION,
        "protected ": _DECLARATION,
        "#include": r"[ \t]*[<\"]",
        "=> {": "",
        "console.log(": "",
        "System.out.": "",
        "if __name__": r"[ \t]*==",
        "SELECT ": r"[ \t]+[^;]{1,400}\bFROM\b",
        "INSERT INTO ": r"[ \t]+\w",
        "CREATE TABLE ": r"[ \t]+\w",
        "#!/": r"(?:usr|bin)/",
        "Traceback (most recent call last)": ":",
    }.items()
}
_MOST_OCCURRENCES = 20

_CODE_ENDINGS = ("{", "}", "};", "):", "});", "else:", "try:")
_STATEMENT_ENDINGS = (";", ")")
_CODE_BEGINNINGS = (
    "import ",
    "from ",
    "const ",
    "let ",
    "var ",
    "return ",
    "@",
    "elif ",
    "print(",
    "self.",
    "raise ",
    "throw ",
)
_OPERATORS = ("=", "(", "{", "[", ".")


def has_code(texts: Sequence[str]) -> bool:
    """Whether code stands in one of the texts, oldest first. Looks at the newest 4,000 characters, for fences everywhere."""
    for text in texts:
        for mark, fence in _FENCES.items():
            if mark in text and fence in text:
                return True
    newest: list[str] = []
    room = _LOOKED_AT
    for text in reversed(texts):
        if room <= 0:
            break
        newest.append(text[:room])
        room -= len(text)
    joined = "\n".join(newest)
    if not any(hint in joined for hint in _HINTS):
        return False
    return _has_construct(joined) or _has_code_lines(joined)


def _has_construct(text: str) -> bool:
    return any(mark in text and _stands_in(text, mark, construct) for mark, construct in _CONSTRUCTS.items())


def _stands_in(text: str, mark: str, construct: re.Pattern[str]) -> bool:
    position = text.find(mark)
    for _ in range(_MOST_OCCURRENCES):
        if position < 0:
            break
        is_word = position == 0 or not (text[position - 1].isalnum() and mark[0].isalnum())
        if is_word and construct.match(text, position):
            return True
        position = text.find(mark, position + 1)
    return False


def _has_code_lines(text: str) -> bool:
    lines = text.split("\n", _LINES_LOOKED_AT)
    if len(lines) < _ENOUGH_LINES:
        return False
    found = 0
    for line in lines[:_LINES_LOOKED_AT]:
        stripped = line.strip()
        if stripped and _is_code_line(stripped):
            found += 1
            if found == _ENOUGH_LINES:
                return True
    return False


def _is_code_line(line: str) -> bool:
    if line.endswith(_CODE_ENDINGS):
        return True
    # A statement: prose also ends lines with a semicolon or a bracket, but puts a space before its opening bracket.
    if line.endswith(_STATEMENT_ENDINGS):
        return "=" in line or ("(" in line and " (" not in line)
    assigned, is_assignment, _ = line.partition(" = ")
    if is_assignment and assigned.replace(".", "").isidentifier():
        return True
    return line.startswith(_CODE_BEGINNINGS) and any(operator in line for operator in _OPERATORS) and not line.endswith(".")
