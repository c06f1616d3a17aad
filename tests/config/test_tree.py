"""What YAML means here, and the places of its parts."""

from __future__ import annotations

import time

import pytest

from router_extproc.config.tree import MAX_DEPTH, Mapping, YamlError, plain, read_tree


@pytest.mark.parametrize(
    ("written", "meaning"),
    [
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("Off", "Off"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("''", ""),
        ("4", 4),
        ("'4'", "4"),
        ("-3", -3),
        ("010", "010"),
        ("0x1f", "0x1f"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2.50", 2.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("2026-11-21", "2026-11-21"),
        ("9" * 31, "9" * 31),
        ("!!str 4", "4"),
    ],
)
def test_scalars_mean_what_they_look_like(written: str, meaning: object) -> None:
    """Only true, false, null and plain decimal numbers are more than text."""
    tree, problems = read_tree(f"key: {written}\n")
    value = plain(tree)
    assert not problems
    assert isinstance(value, dict)
    assert value["key"] == meaning
    assert isinstance(value["key"], type(meaning))
    assert isinstance(value["key"], bool) is isinstance(meaning, bool)


def test_keys_are_always_text() -> None:
    """A number or a switch word as a key is the text that the file shows."""
    tree, _ = read_tree("4: a\non: b\n3.10: c\n")
    assert plain(tree) == {"4": "a", "on": "b", "3.10": "c"}


def test_marks_count_from_one() -> None:
    """The first character of the file is line 1, column 1."""
    tree, _ = read_tree("a:\n  - b: c\n")
    assert isinstance(tree, Mapping)
    assert (tree.keys["a"].line, tree.keys["a"].column) == (1, 1)
    item = tree.entries["a"].items[0]  # type: ignore[union-attr]
    assert (item.keys["b"].line, item.keys["b"].column) == (2, 5)  # type: ignore[union-attr]
    assert (item.entries["b"].mark.line, item.entries["b"].mark.column) == (2, 8)  # type: ignore[union-attr]


def test_an_explicit_key_wins_over_a_merged_one() -> None:
    """A merge key fills in what the mapping does not say itself; of several sources the first wins."""
    tree, _ = read_tree("x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2}\nz: {<<: [*x, *y], a: 9}\n")
    value = plain(tree)
    assert isinstance(value, dict)
    assert value["z"] == {"a": 9, "b": 1, "c": 2}


def test_an_alias_bomb_costs_little() -> None:
    """Aliases that would multiply to a billion values are refused in the time it takes to read the text."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    started = time.monotonic()
    with pytest.raises(YamlError, match="more than 500000 values"):
        read_tree("\n".join(lines))
    assert time.monotonic() - started < 1


def test_depth_is_bounded() -> None:
    """Nesting that would exhaust the stack is refused."""
    read_tree("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    with pytest.raises(YamlError, match="nested deeper"):
        read_tree("[" * 100_000)


@pytest.mark.parametrize("text", ["? [a, b]\n: c\n", "{[a]: b}\n"])
def test_a_key_is_a_word(text: str) -> None:
    """Lists and mappings are no keys."""
    with pytest.raises(YamlError, match="a key must be a plain word"):
        read_tree(text)


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n", "---\n...\n"])
def test_nothing_is_none(text: str) -> None:
    """An empty document has no tree."""
    assert read_tree(text) == (None, [])


@pytest.mark.parametrize("tag", ["!!python/name:os.system", "!include", "!!binary", "!<tag:example.com,2026:x>", "!!set"])
def test_tags_are_refused(tag: str) -> None:
    """A tag never builds anything."""
    with pytest.raises(YamlError, match="is not supported"):
        read_tree(f"key: {tag} x\n")
