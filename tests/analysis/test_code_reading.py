import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.analysis.code_reading import CodeReading, read_code

LABELLED: list[dict[str, Any]] = [
    json.loads(line) for line in (Path(__file__).parent / "corpora" / "code.jsonl").read_text(encoding="utf-8").splitlines()
]


def test_presence_of_code_on_labelled_texts() -> None:
    """Code is told from prose with precision and recall of at least 0.95 (unclear texts are not labelled)."""
    labelled = [(item["code"], read_code([item["text"]]).has_code) for item in LABELLED if item["code"] is not None]
    right = sum(said and found for said, found in labelled)
    assert right / sum(found for _, found in labelled) >= 0.95
    assert right / sum(said for said, _ in labelled) >= 0.95


@pytest.mark.parametrize("what", ["language", "intent"])
def test_language_and_intent_on_labelled_texts(what: str) -> None:
    """Which language, and whether to write, explain or mend: precision and recall of at least 0.95, prose included."""
    pairs = [(item[what], getattr(read_code([item["text"]]), what)) for item in LABELLED]
    right = sum(said == found for said, found in pairs if said is not None)
    assert right / sum(found is not None for _, found in pairs) >= 0.95
    assert right / sum(said is not None for said, _ in pairs) >= 0.95


def test_explaining_is_not_writing() -> None:
    """The same function may be asked for, asked about, or broken."""
    assert read_code(["Write a function in Python that sorts a list."]).intent == "write"
    assert read_code(["Explain this:\n```python\nxs.sort()\n```"]) == CodeReading(
        has_code=True, language="python", intent="explain"
    )
    assert read_code(["```python\nxs.sort()\n```\nThis crashes."]).intent == "fix"


def test_code_of_earlier_turns_counts() -> None:
    """A question about code that was shown before is about code."""
    assert read_code(["```go\nx := 1\n```", "and what does it do?"]) == CodeReading(
        has_code=True, language="go", intent="explain"
    )


def test_a_label_counts_more_than_looks() -> None:
    """What the author wrote beside the fence is taken at its word."""
    assert read_code(["```ts\nconsole.log(1)\n```"]).language == "typescript"


@given(st.lists(st.text(alphabet=st.sampled_from("ab`~\n{}();=<>$ :def"), max_size=300), max_size=3))
def test_any_text_can_be_read(texts: list[str]) -> None:
    """Whatever stands in the texts is read without an error."""
    assert isinstance(read_code(texts), CodeReading)


@pytest.mark.parametrize(
    "hostile", ["```" * 20_000, "{" * 60_000, "what " * 20_000, "SELECT " * 10_000, "<" * 60_000, "\n" * 60_000 + "."]
)
@pytest.mark.timeout(5)
def test_hostile_texts_are_read_in_time(hostile: str) -> None:
    """A text made to be slow is not."""
    read_code([hostile])
