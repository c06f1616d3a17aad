"""Code is recognised, and prose about code is not."""

from __future__ import annotations

import time

import pytest

from router_extproc.analysis.code import has_code

CODE = [
    "```\nx\n```",
    "Please fix: def foo(x): return x+1",
    "func (s *Server) Serve(w http.ResponseWriter) {",
    "fn main() { println!() }",
    "items.map((item) => {\n  return item\n})",
    "const a = 1;\nlet b = 2;\nconsole.info(a);",
    "SELECT a, b FROM t WHERE x = 1",
    "public static void main(String[] args)",
    "class Foo(Base):\n    pass",
    "for i in range(10):\n    x = i\n    print(x)\n",
    "#include <stdio.h>\nint main;",
    'Traceback (most recent call last):\n  File "x.py", line 1',
    "#!/usr/bin/env bash\nset -e; echo (hi)",
    '{\n  "a": 1,\n  "b": {\n  }\n}',
]
PROSE = [
    "",
    "What is the capital of France?",
    "Write a function (in Python) that sorts a list; keep it short = good.",
    "The class of 2024 (the best one): a public matter; private lives.",
    "Dear Sir;\nI write (again) to you;\nplease answer (soon);\nthanks",
    "import duties are (mostly) paid at the border. from there = onward.",
    "1. first (a)\n2. second (b)\n3. third (c)\n4. fourth (d)",
    "Let me return to the subject (of trade); for a while, if you can, select from these.",
]


@pytest.mark.parametrize("text", CODE)
def test_code_is_recognised(text: str) -> None:
    """A fence, an unmistakable construct or several code-like lines are code."""
    assert has_code([text])


@pytest.mark.parametrize("text", PROSE)
def test_prose_is_not_code(text: str) -> None:
    """Words that languages also use, brackets and semicolons do not make code."""
    assert not has_code([text])


def test_the_newest_messages_are_looked_at() -> None:
    """What was said last counts, and fences count wherever they are."""
    chatter = "words (many) " * 1_000
    assert has_code([chatter, "def foo(x): return x"])
    assert not has_code(["def foo(x): return x", chatter])
    assert has_code(["```x```", chatter])


@pytest.mark.parametrize(
    "text", ["SELECT " * 2_000, "class a" * 2_000, "function (" * 2_000, "public a " * 2_000, "(\n" * 10_000, "=" * 10**6]
)
def test_no_text_takes_long(text: str) -> None:
    """Texts made to be hard to judge are judged in milliseconds."""
    started = time.process_time()
    has_code([text])
    assert time.process_time() - started < 0.1
