"""The JSON Schema that editors use."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import jsonschema
import pytest

from router_extproc.config.json_schema import json_schema, json_schema_text
from router_extproc.config.tree import plain, read_tree

HERE = Path(__file__).parent
# Wrong in a way that a schema can see, and not only in what names refer to.
VISIBLE = """
    unknown-key unknown-section key-in-wrong-place missing-key missing-key-in-list wrong-type list-expected section-expected
    out-of-range unknown-tier unknown-strategy durations-and-sizes unknown-cause path-of-a-rule header-name
    nothing-after-the-colon many-at-once certificate-without-key pattern-in-front
    amounts windows labels keys auth spiffe-and-addresses secrets-in-the-file raises provider-limits
"""


def lists(value: object) -> object:
    """Tuples as the lists that a JSON Schema knows."""
    if isinstance(value, dict):
        return {key: lists(inner) for key, inner in value.items()}
    return [lists(inner) for inner in value] if isinstance(value, tuple) else value


def read(file: Path) -> object:
    return lists(plain(read_tree(file.read_text(encoding="utf-8"))[0]))


def test_the_checked_in_schema_is_fresh() -> None:
    """The file in the package is what the code would write now."""
    checked_in = resources.files("router_extproc.config").joinpath("data", "router.schema.json").read_text(encoding="utf-8")
    assert checked_in == json_schema_text()


def test_it_is_a_schema() -> None:
    """The document is itself valid under the draft it names."""
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("file", sorted((HERE / "good").glob("*.yaml")), ids=lambda file: file.stem)
def test_good_files_are_valid(file: Path) -> None:
    """What the router accepts, an editor accepts."""
    jsonschema.Draft202012Validator(json_schema()).validate(read(file))


@pytest.mark.parametrize(
    "file",
    [next((HERE / "bad").glob(f"[0-9][0-9]-{name}.yaml")) for name in VISIBLE.split()],
    ids=lambda file: file.stem,
)
def test_bad_files_are_not(file: Path) -> None:
    """What is wrong in form is marked in an editor already."""
    assert not jsonschema.Draft202012Validator(json_schema()).is_valid(read(file))


def test_defaults_are_written_as_a_user_would() -> None:
    """Durations and sizes show their default with its unit, not in the program's milliseconds and bytes."""
    definitions = json_schema()["$defs"]
    assert isinstance(definitions, dict)
    assert definitions["Timeouts"]["properties"]["deadline"]["default"] == "10m"
    assert definitions["Limits"]["properties"]["max_body_bytes"]["default"] == "32MiB"


def test_every_key_is_described() -> None:
    """An editor can say of each key what it means."""
    definitions = json_schema()["$defs"]
    assert isinstance(definitions, dict)
    sections = {name: section.get("anyOf", [section])[-1] for name, section in definitions.items()}
    sections["RouterConfig"] = json_schema()
    silent = [
        f"{name}.{key}"
        for name, section in sections.items()
        for key, value in section["properties"].items()
        if not value.get("description")
    ]
    assert silent == []
