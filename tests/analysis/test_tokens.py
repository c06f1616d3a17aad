"""Estimated tokens against counts of a real tokenizer (o200k_base), taken once and written down."""

from __future__ import annotations

import json
import math

import pytest

from router_extproc.analysis.tokens import text_tokens

_RECORDS = [{"id": i, "name": f"user{i}", "email": f"u{i}@example.com", "tags": ["a", "b"]} for i in range(200)]

COUNTED = {
    "json": (json.dumps(_RECORDS), 6_401),
    "indented json": (json.dumps(_RECORDS, indent=2), 8_802),
    "log": ("2026-11-21T09:19:00Z INFO 10.0.0.1 GET /v1/models 200 12ms id=abc123\n" * 50, 1_850),
    "html": ('<div class="row"><a href="/x/1">Item one</a></div>\n' * 40, 760),
    "sql": (
        "SELECT a.id, b.name FROM orders a JOIN users b ON a.user_id = b.id WHERE a.total > 100 ORDER BY a.created_at;\n" * 10,
        310,
    ),
    "chat": (
        "Can you help me plan a trip to Lisbon in May? I like food, museums and long walks, and my budget is modest. " * 5,
        136,
    ),
    "question": ("What is the capital of France?", 7),
    "chinese": ("今天天气很好，我们去公园散步吧。人工智能正在改变世界，许多公司都在使用大型语言模型来提高效率。" * 20, 620),  # noqa: RUF001 - Chinese commas
    "japanese": ("今日は天気がいいので、公園へ散歩に行きましょう。人工知能は世界を変えています。" * 20, 540),
    "german": (
        "Die Größe des Häuschens überraschte die Gäste, obwohl schöne Möbel darin standen und alles übersichtlich war. " * 20,
        441,
    ),
}


@pytest.mark.parametrize("kind", COUNTED)
def test_an_estimate_is_near_the_count(kind: str) -> None:
    """Whatever the kind of text, the estimate is within a third of the count."""
    text, counted = COUNTED[kind]
    assert abs(math.log(text_tokens(text) / counted)) < math.log(4 / 3)


def test_a_long_text_is_judged_by_its_windows() -> None:
    """Beyond 24,000 characters three windows stand for the whole, and the estimate hardly changes."""
    text = COUNTED["json"][0]
    assert text_tokens(text * 50) == pytest.approx(text_tokens(text) * 50, rel=0.05)


def test_more_text_never_costs_less() -> None:
    """Appending words raises the estimate, and nothing costs nothing."""
    assert text_tokens("") == 0
    assert text_tokens("word " * 20) < text_tokens("word " * 40) < text_tokens("word " * 80 + "é")
