"""What a request has to do with code: whether code stands in it, in which programming language, and what is wanted of it.

"Explain this function" and "write this function" need different answers: the first verb that speaks of code decides.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import NamedTuple

from router_extproc.analysis.code import has_code
from router_extproc.analysis.code_intent import Intent, read_intent

_fence = re.compile(r"(?:```|~~~)[ \t]*([A-Za-z+#.-]{0,20})[^\n]*\n?(.*?)(?:```|~~~|\Z)", re.DOTALL)
_SPELLINGS = {
    "py": "python", "python3": "python", "js": "javascript", "jsx": "javascript", "node": "javascript", "ts": "typescript",
    "tsx": "typescript", "sh": "shell", "bash": "shell", "zsh": "shell", "console": "shell", "powershell": "powershell",
    "ps1": "powershell", "c++": "cpp", "cc": "cpp", "cpp": "cpp", "c#": "csharp", "cs": "csharp", "csharp": "csharp",
    "golang": "go", "rs": "rust", "rb": "ruby", "kt": "kotlin", "yml": "yaml", "htm": "html", "postgresql": "sql",
    "mysql": "sql", "sqlite": "sql", "tf": "terraform", "hcl": "terraform", "dockerfile": "docker", "docker": "docker",
}  # fmt: skip
_NAMES = frozenset({
    *_SPELLINGS.values(), "python", "javascript", "typescript", "java", "c", "go", "rust", "ruby", "php", "swift", "kotlin",
    "scala", "haskell", "lua", "perl", "r", "sql", "html", "css", "json", "yaml", "toml", "xml", "matlab", "dart", "elixir",
})  # fmt: skip

# Without any of these no text is code: prose has hardly any, and is spared the search. A blank or an indented line is
# looked for from its own beginning alone: from each of thousands of blank lines to the next word would take seconds.
_hint = re.compile(r"[{};=$|<>\\]|\w\(|\b[A-Z]{4,} |^[^\S\n]++\n?\w|^\n\w|:$", re.MULTILINE)
# Marks of code that is known to be code, and of text that may be prose.
_ENOUGH, _CERTAIN = 3, 6
# Characters of code that are looked at for its language.
_LOOKED_AT = 2_000
# Characters of the newest text in which an intent is looked for, from its beginning and its end.
_PROSE = 1_200

# What speaks of code in any sentence, and what does so only in company: a python may be a pet, Java an island.
_programming = re.compile(
    r"\b(?:coding|programming|source code|regex\w*|regular expression|sql|api|endpoint|rest api|react|unit tests?"
    r"|compil\w+|recursion|linked list"
    r"|hash ?map|binary (?:search|tree)|quicksort|dataframe|decorators?|closures?|goroutines?|git|docker\w*"
    r"|kubernetes|terraform|makefile|bash"
    r"|powershell|cron|javascript|typescript|node\.js|django|flask|golang|kotlin|swiftui|php|laravel|haskell|c\+\+|c#"
    r"|css|html|json|yaml|numpy|pandas"
    r"|pytorch|tensorflow|webpack|npm|pip|perl|lua|traceback|stack trace|segfault|nullpointer\w*|\w{3,}exception"
    r"|(?:name|type|value|key|syntax)error"
    r"|one-liner|pointers? (?:in|to|twice)|database query)(?!\w)",
    re.IGNORECASE,
)
# Every match of the pattern holds one of these in lower case: looked for first, they spare most texts the pattern.
_needles = (
    "coding", "programming", "source", "regex", "regular", "sql", "api", "endpoint", "react", "unit", "compil",
    "recursion", "linked", "hash", "binary", "quicksort", "dataframe", "decorator", "closure", "goroutine", "git",
    "docker", "kubernetes", "terraform", "makefile", "bash", "powershell", "cron", "javascript", "typescript",
    "node.js", "django", "flask", "golang", "kotlin", "swiftui", "php", "laravel", "haskell", "c++", "c#", "css",
    "html", "json", "yaml", "numpy", "pandas", "pytorch", "tensorflow", "webpack", "npm", "pip", "perl", "lua",
    "trace", "segfault", "nullpointer", "exception", "error", "one-liner", "pointer", "database",
)  # fmt: skip
_in_company = frozenset({
    "code", "function", "functions", "method", "methods", "class", "script", "program", "programs", "query",
    "algorithm", "variable", "variables", "array", "arrays", "loop", "pointer", "python", "java", "rust", "ruby",
    "rails", "swift", "scala", "shell", "go", "repo", "component", "keyword", "dictionary", "list", "tuple", "enum",
    "endpoint", "endpoints", "c",
})  # fmt: skip
_words = re.compile(r"\w+")
_named = re.compile(
    r"(?<![\w.])(python|javascript|typescript|java|golang|rust|ruby|php|swift(?:ui)?|kotlin|scala|haskell|lua|perl"
    r"|c\+\+|c#|sql|postgresql|mysql"
    r"|html|css|bash|shell|powershell|terraform|docker\w*|yaml|json|matlab|dart|elixir|react|node(?:\.js)?|django"
    r"|flask|pandas|numpy|pytorch|rails"
    r"|laravel|go(?= (?:program|function|code|struct|routine|service|server))|(?:in|an?) r(?= |\.|,|$)|in c(?= |\.|,"
    r"|$)|a c(?= program| function))(?!\w)",
    re.IGNORECASE,
)
_MEANS = {
    "react": "javascript", "node": "javascript", "node.js": "javascript", "django": "python", "flask": "python",
    "pandas": "python", "numpy": "python", "pytorch": "python", "rails": "ruby", "laravel": "php", "swiftui": "swift",
    "in r": "r", "a r": "r", "an r": "r", "in c": "c", "a c": "c", "dockerfile": "docker", "dockerize": "docker",
}  # fmt: skip


class CodeReading(NamedTuple):
    """``has_code``: code stands in the texts. ``language`` and ``intent`` may be known without: "write a Python function"."""

    has_code: bool
    language: str | None = None
    intent: Intent | None = None


def read_code(texts: Sequence[str]) -> CodeReading:
    """Reads the texts of a conversation, oldest first; the newest says what is wanted."""
    newest = texts[-1] if texts else ""
    found = has_code(texts)
    recognised = None
    if not found and _hint.search(newest) is not None:
        recognised = _recognised(newest, _CERTAIN)
        found = recognised is not None
    prose = _fence.sub(" ", newest)
    prose = prose if len(prose) <= 2 * _PROSE else f"{prose[:_PROSE]}\n{prose[-_PROSE:]}"
    if not found and not _is_programming(prose):
        return CodeReading(has_code=False)
    language = recognised or (_language_of_code(texts) if found else None)
    return CodeReading(found, language or _language_named(prose), read_intent(newest, prose))


def _is_programming(prose: str) -> bool:
    lower = prose.lower()
    if any(needle in lower for needle in _needles) and _programming.search(prose) is not None:
        return True
    return len(_in_company.intersection(_words.findall(lower))) + ("garbage collection" in lower) > 1


def _language_named(prose: str) -> str | None:
    named = _named.search(prose)
    if named is None:
        return None
    name = named[1].lower()
    return _MEANS.get(name) or _SPELLINGS.get(name, name)


def _language_of_code(texts: Sequence[str]) -> str | None:
    """What the newest fence is labelled with; else what its code looks like."""
    blocks = [block for text in reversed(texts) for block in _fence.findall(text)]
    for label, _ in blocks:
        name: str = _SPELLINGS.get(label.lower(), label.lower())
        if name in _NAMES:
            return name
    return _recognised("\n".join(code for _, code in blocks) or texts[-1], _ENOUGH)


def _recognised(code: str, enough: int) -> str | None:
    """The language with the most marks; None where there are too few, or as many of another."""
    code = code[:_LOOKED_AT]
    scores = {language: sum(mark.weight for mark in marks if mark.stands_in(code)) for language, marks in _marks().items()}
    first, second = sorted(scores, key=lambda language: -scores[language])[:2]
    return first if scores[first] >= enough and scores[first] > scores[second] else None


class _Mark(NamedTuple):
    pattern: re.Pattern[str]
    weight: int
    needles: tuple[str, ...]

    def stands_in(self, code: str) -> bool:
        """Substrings are looked for first: a hundred times faster than the pattern, and mostly absent."""
        is_possible = not self.needles or any(needle in code for needle in self.needles)
        return is_possible and self.pattern.search(code) is not None


@cache
def _marks() -> dict[str, tuple[_Mark, ...]]:
    document = json.loads(resources.files("router_extproc.analysis").joinpath("data/code_marks.json").read_bytes())
    return {
        language: tuple(_Mark(re.compile(mark, re.MULTILINE), weight, tuple(needles)) for mark, weight, needles in marks)
        for language, marks in document["marks"].items()
    }
