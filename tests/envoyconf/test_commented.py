"""YAML with comments: the same content, every comment in its place."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from router_extproc.envoyconf.commented import to_yaml
from router_extproc.envoyconf.comments import COMMENTS, HEADINGS
from router_extproc.envoyconf.layout import Layout
from router_extproc.envoyconf.render import build_messages
from tests.envoyconf.samples import Folders, configuration, registry_of

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(min_size=1), inner), max_leaves=20)


@settings(max_examples=50)
@given(st.dictionaries(st.text(min_size=1), VALUES, min_size=1))
def test_yaml_means_the_same(message: dict[str, Any]) -> None:
    """Whatever the text, YAML reads back what was written."""
    assert yaml.safe_load(to_yaml(message, {}, "heading")) == message


@pytest.mark.parametrize(
    "text", ["yes", "1", "1.5", "null", "0x1f", "2026-01-01", "", " a", "a: b", "#a", "- a", "%REQ(:path)%", "é"]
)
def test_text_stays_text(text: str) -> None:
    """A string that looks like something else is still a string."""
    assert yaml.safe_load(to_yaml({"value": text}, {}, "")) == {"value": text}


def test_comment_stands_above_its_place_once() -> None:
    """A comment is said at the first place that it fits, above the dash when that is a list's item."""
    message = {"filters": [{"name": "a", "on": True}, {"name": "b", "on": False}], "empty": [], "on": {}}
    comments = {("filters", "b"): "About b.", ("on",): "About on.", ("name",): "About names."}
    assert to_yaml(message, comments, "Heading.") == (
        "# Heading.\n\n"
        "filters:\n"
        "  # About names.\n"
        "  - name: a\n"
        "    # About on.\n"
        '    "on": true\n'
        "  # About b.\n"
        "  - name: b\n"
        '    "on": false\n'
        "empty: []\n"
        '"on": {}\n'
    )


def test_every_comment_has_a_place(folders: Folders) -> None:
    """No comment is left over from something that is no longer rendered."""
    tls = {"port": 1, "tls": {"certificate": "a", "key": "b"}}
    tokens = {"mode": "jwt", "jwt": {"issuer": "https://issuer.example", "jwks_file": "keys.json"}}
    config = configuration({"listener": tls, "auth": tokens})
    said = ""
    for name, message in build_messages(config, registry_of(config), Layout.of(folders, 1), "/roots.pem").items():
        said += " ".join(
            line.strip().removeprefix("# ") for line in to_yaml(message, COMMENTS[name], HEADINGS[name]).splitlines()
        )
    assert [text for comments in COMMENTS.values() for text in comments.values() if text not in said] == []
