"""docs/troubleshooting.md has every code that a client may get."""

from __future__ import annotations

import ast
import re

from router_extproc import errors
from router_extproc.envoyconf.local_reply import _REPLIES
from router_extproc.errors import RequestError
from tests.docs.documents import ROOT, names, sections

DOCUMENT = "docs/troubleshooting.md"
PACKAGE = ROOT / "router_extproc"
# Where requests are refused: the rooms that raise a RequestError.
ROOMS = ("analysis", "dialects", "extproc", "limits", "policy")


def of_classes() -> set[str]:
    found = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, RequestError)]
    return {kind.default_code for kind in found if kind.default_code}


def of_calls() -> set[str]:
    """Every `code="…"` with which one of the errors is raised."""
    kinds = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, RequestError)}
    found = set()
    for room in ROOMS:
        for path in (PACKAGE / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in kinds:
                    found |= {
                        keyword.value.value
                        for keyword in node.keywords
                        if keyword.arg == "code" and isinstance(keyword.value, ast.Constant)
                    }
    return found


def of_envoy() -> set[str]:
    scripts = "\n".join(path.read_text(encoding="utf-8") for path in (PACKAGE / "envoyconf" / "lua").glob("*.lua"))
    refused = re.findall(r'(?:refuse|error_body)\([^\n]*?"([a-z_]+)"\)', scripts)
    return {code for *_, code in _REPLIES} | {*refused, *re.findall(r'"code":"([a-z_]+)"', scripts)}


def test_the_collected_codes_are_plausible() -> None:
    """The three collections find what is known to be there: an empty one would prove nothing."""
    assert "model_not_found" in of_classes()
    assert "invalid_header" in of_calls()
    assert {"chain_exhausted", "deadline_exceeded", "stream_incomplete", "upstream_unavailable"} <= of_envoy()


def test_every_code_is_told() -> None:
    """Whoever gets an error finds its code with what to do."""
    told = {name for row in sections(DOCUMENT)["Errors"].rows for name in names(row[1])}
    assert of_classes() | of_calls() | of_envoy() <= told


def test_every_code_has_its_status() -> None:
    """The status beside a code is the one that its error has."""
    rows = {name: row[0] for row in sections(DOCUMENT)["Errors"].rows for name in names(row[1])}
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, RequestError) and kind.default_code:
            assert rows[kind.default_code] == str(kind.status), kind.default_code
