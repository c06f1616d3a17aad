"""Files that must be accepted."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import get_origin

import pytest

from router_extproc.config.load import load_config, parse_config
from router_extproc.config.messages import annotation_at, section_at
from router_extproc.config.source import Path
from router_extproc.config.tree import plain, read_tree
from router_extproc.registry.catalogue import load_catalogue
from router_extproc.registry.compile import compile_registry

GOOD = pathlib.Path(__file__).parent / "good"


@pytest.mark.parametrize("file", sorted(GOOD.glob("*.yaml")), ids=lambda file: file.stem)
def test_each_good_file_compiles(file: pathlib.Path) -> None:
    """A good file is accepted, serves the four default routes and leaves Envoy a chain of its own."""
    registry = compile_registry(load_config(file), load_catalogue())
    assert {"auto", "fast", "cheap", "best"} <= registry.routes.keys()
    assert registry.default_chain


def test_everything_holds_every_key() -> None:
    """The examples with every key have indeed every key of the schema, so that none is left untried."""
    tried: set[str] = set()
    for name in ("everything", "mesh", "cluster", "sentinels"):
        written = plain(read_tree((GOOD / f"{name}.yaml").read_text(encoding="utf-8"))[0])
        tried |= set(keys_in_use(written, ()))
    assert set(keys_of_schema(())) - tried == set()


def keys_of_schema(path: Path) -> Iterator[str]:
    """Every key below the path, as ``Section.key``; ``*`` and 0 stand for any name and place."""
    section = section_at(path)
    if section is None:
        if get_origin(annotation_at(path)) in (dict, tuple):
            yield from keys_of_schema((*path, "*" if get_origin(annotation_at(path)) is dict else 0))
        return
    for name in section.model_fields:
        yield f"{section.__name__}.{name}"
        yield from keys_of_schema((*path, name))


def keys_in_use(value: object, path: Path) -> Iterator[str]:
    """The same of what a file writes."""
    section = section_at(path)
    if isinstance(value, dict):
        for key, inner in value.items():
            if section is not None:
                # What a section takes over from another has been tried for both.
                yield from (f"{each.__name__}.{key}" for each in section.__mro__)
            yield from keys_in_use(inner, (*path, key))
    elif isinstance(value, tuple):
        for index, inner in enumerate(value):
            yield from keys_in_use(inner, (*path, index))


def test_relative_paths_are_meant_from_the_file() -> None:
    """Keys and certificates named by a relative path are looked for beside the file; without a file, where we stand."""
    config = load_config(GOOD / "everything.yaml")
    assert config.listener.tls is not None
    assert config.listener.tls.certificate == str(GOOD / "tls/server.pem")
    assert config.providers["openai"].credentials[0].file == str(GOOD / "keys/team-a")
    beside = parse_config((GOOD / "everything.yaml").read_text(encoding="utf-8"), "router.yaml")
    assert beside.providers["openai"].credentials[0].file == "keys/team-a"


def test_anchors_are_written_out() -> None:
    """Merge keys and aliases give what they stand for, and words like `no` and `on` stay words."""
    config = load_config(GOOD / "anchors.yaml")
    assert config.providers["eu"].region == "no"
    assert config.providers["us"].region == "on"
    assert config.providers["us"].models == ("gpt-4o",)
    assert [credential.name for credential in config.providers["spare"].credentials] == ["first", "second"]
    assert config.providers["spare"].models == ("4",)
