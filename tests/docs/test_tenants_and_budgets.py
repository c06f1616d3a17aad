"""docs/tenants-and-budgets.md: what a newcomer copies works."""

from __future__ import annotations

import subprocess
import sys

import pytest

from router_extproc.config.load import parse_config
from router_extproc.limits.identity import is_digest_of, key_id
from router_extproc.registry.catalogue import load_catalogue
from router_extproc.registry.compile import compile_registry
from tests.docs.documents import blocks, names, sections

DOCUMENT = "docs/tenants-and-budgets.md"
FILE = """\
providers: {{openai: {{base_url: "https://api.openai.com/v1", models: [gpt-5.4-mini, gpt-5.4]}}}}
auth: keys
tenants: {{search: {{tags: {{feature: summaries}}}}}}
budgets: {{told: {budget}}}
"""


def test_the_lines_that_make_a_key_make_one() -> None:
    """The two lines printed are a key of the form that is known again, and its digest as the file accepts it."""
    (block,) = blocks("python", documents=(DOCUMENT,))
    printed = subprocess.run([sys.executable, "-c", block.text], capture_output=True, text=True, check=True, timeout=30)
    key, digest = printed.stdout.splitlines()
    assert key_id(key) == "ci"
    assert is_digest_of(digest, key)
    text = FILE.format(budget="{usd: 1}") + f"keys: {{ci: {{tenant: search, digest: '{digest}'}}}}\n"
    registry = compile_registry(parse_config(text), load_catalogue())
    assert registry.spending.keys["ci"].digests == ((digest, None),)


ROWS = [row for row in sections(DOCUMENT)["Budgets"].rows if len(row) == 2]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_each_example_of_a_budget_is_one(row: tuple[str, str]) -> None:
    """What the table tells to write can be written, and is enforced."""
    (budget,) = names(row[1])
    registry = compile_registry(parse_config(FILE.format(budget=budget)), load_catalogue())
    assert [(each.name, each.mode) for each in registry.spending.budgets] == [("told", "enforce")]


def test_each_window_is_one() -> None:
    """Each window of the table can be written for a budget."""
    windows = [word for row in sections(DOCUMENT)["Choosing a window"].rows for word in names(row[0])]
    assert len(windows) == 9
    for window in windows:
        text = FILE.format(budget=f"{{usd: 1, window: {window}}}")
        compile_registry(parse_config(text), load_catalogue())
