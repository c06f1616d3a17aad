"""No link of the documents leads nowhere."""

from __future__ import annotations

import json
import re

import pytest

from tests.docs.documents import DOCUMENTS, ROOT, Block, anchors, blocks, links, prose


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document: str) -> None:
    """Each relative link names a file of the repository, and a heading in it where it says one."""
    for link in links(document):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / document).parent / path if path else ROOT / document
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(str(target.resolve().relative_to(ROOT))), link


def test_every_page_can_be_reached_from_the_readme() -> None:
    """Following links from the README, a reader comes to every document."""
    seen, waiting = set(), ["README.md"]
    while waiting:
        document = waiting.pop()
        if document in seen:
            continue
        seen.add(document)
        for link in links(document):
            path = link.partition("#")[0]
            if path.endswith(".md") and ":" not in path:
                waiting.append(str(((ROOT / document).parent / path).resolve().relative_to(ROOT)))
    assert set(DOCUMENTS) <= seen


@pytest.mark.parametrize("document", [name for name in DOCUMENTS if name.startswith("docs/")])
def test_every_file_that_a_page_names_exists(document: str) -> None:
    """A test, module or data file that a page points to by its path is there."""
    for path in re.findall(r"`((?:tests|router_extproc)/[\w./]+)`", prose(document)):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "decisions").glob("0*.md")), ids=lambda page: page.stem)
def test_a_decision_says_why_and_what_proves_it(page: object) -> None:
    """Each numbered page has its four parts, and stands in the list."""
    name = str(page).rpartition("/")[2]
    text = prose(f"docs/decisions/{name}")
    for part in ("Context", "Decision", "Consequence", "Proof"):
        assert f"\n**{part}.** " in text, part
    number, _, title = text.splitlines()[0].removeprefix("# ").partition(" ")
    assert name.startswith(number)
    assert f"| [{number}]({name}) | {title} |" in prose("docs/decisions/README.md")


@pytest.mark.parametrize("block", blocks("json"), ids=lambda block: f"{block.document}:{block.line}")
def test_every_example_of_json_is_json(block: Block) -> None:
    """What is shown as JSON can be parsed."""
    json.loads(block.text)
