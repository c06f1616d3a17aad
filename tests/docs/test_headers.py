"""docs/headers.md has every header that the router reads or sets."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest

from router_extproc.envoyconf.listener import CLIENT_CREDENTIALS
from router_extproc.envoyconf.names import JWT, PEER, SIZE
from router_extproc.envoyconf.routes import RESPONSE_HEADERS
from router_extproc.envoyconf.upstream_filters import _NOT_OURS, _PREPARED
from router_extproc.policy import narrowing
from router_extproc.registry.snapshot import Tier
from tests.docs.documents import DOCUMENTS, ROOT, names, prose, read, sections

DOCUMENT = "docs/headers.md"
SOURCES = [path for path in (ROOT / "router_extproc").rglob("*") if path.suffix in (".py", ".lua")]
HEADER = re.compile(r"x-router-[a-z]+(?:-[a-z]+)*")
RESPONSE = {name for name, _ in RESPONSE_HEADERS}
REQUEST = {narrowing.MIN_TIER, narrowing.MODELS, narrowing.MAX_COST, narrowing.REGION, "x-router-dry-run", "x-router-session"}
CLAIMS = {f"x-router-{claim}" for claim in ("tenant", "team", "user", "tags")}
# Carried from one filter of Envoy to the next, and removed before a request leaves.
INTERNAL = {*(name for name, _ in _PREPARED), SIZE, PEER, JWT} - RESPONSE


def in_sources() -> set[str]:
    return {name for path in SOURCES for name in HEADER.findall(path.read_text(encoding="utf-8"))}


def told(title: str) -> set[str]:
    return {name for row in sections(DOCUMENT)[title].rows for name in names(row[0])}


def test_every_response_header_is_told() -> None:
    """What an answer may carry stands in the table of response headers."""
    assert told("Response headers") >= RESPONSE


def test_every_request_header_is_told() -> None:
    """What a client may ask for stands in the table of request headers, and nothing else does."""
    assert told("Request headers") == REQUEST | CLAIMS


def test_no_header_of_the_code_is_left_out() -> None:
    """A header that any part of the code names is documented, or stays within Envoy."""
    ours = {name for name in told("Response headers") | told("Request headers") if HEADER.fullmatch(name)}
    assert in_sources() - INTERNAL == ours


@pytest.mark.parametrize("document", DOCUMENTS)
def test_no_document_tells_a_header_that_does_not_exist(document: str) -> None:
    """A reader never sets or waits for a header that nobody knows."""
    assert set(HEADER.findall(read(document))) <= in_sources()


@pytest.mark.parametrize("removed", [CLIENT_CREDENTIALS, _NOT_OURS])
def test_every_header_that_is_removed_is_told(removed: Iterable[str]) -> None:
    """Whoever misses a header finds that it was removed."""
    assert set(removed) <= set(names(prose(DOCUMENT)))


def test_every_tier_can_be_asked_for() -> None:
    """The words that the header for the tier takes are those of the registry."""
    row = next(row for row in sections(DOCUMENT)["Request headers"].rows if narrowing.MIN_TIER in row[0])
    assert set(names(row[1])) == {tier.label for tier in Tier}
