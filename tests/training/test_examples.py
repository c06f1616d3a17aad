"""Labelled texts and the templates they are made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from router_extproc.training.examples import (
    FOLDS,
    Example,
    Template,
    fill,
    key_of,
    passages,
    read_slots,
    read_templates,
    varied,
)
from router_extproc.training.pipeline import OWN_DATA, Context

_FOLDERS = ("tasks", "risk")


def _random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _context(folder: Path) -> Context:
    return Context(data=folder, work=folder, out=folder)


def test_a_slot_is_filled_from_its_list() -> None:
    """Braces with a name are replaced, line breaks are made, everything else stays."""
    template = Template("qa", "What is the capital of {country}?\\nAnswer:")
    assert template.filled({"country": ["Peru"]}, _random()) == "What is the capital of Peru?\nAnswer:"


def test_a_slot_without_fillers_is_an_error() -> None:
    """A misspelt slot must not reach a model as text."""
    with pytest.raises(KeyError, match="contry"):
        Template("qa", "{contry}").filled({"country": ["Peru"]}, _random())


def test_braces_that_are_no_slot_stay() -> None:
    """Templates may hold JSON."""
    template = Template("tool_step", '{"status": "ok"}')
    assert not template.has_slots
    assert template.filled({}, _random()) == '{"status": "ok"}'


@pytest.mark.parametrize("folder", _FOLDERS)
def test_every_slot_of_the_shipped_templates_can_be_filled(folder: str, tmp_path: Path) -> None:
    """Whatever slot a template names, there is something to put into it."""
    context = _context(tmp_path)
    slots = read_slots(context, folder) | {name: ["x"] for name in ("passage", "sentence", "sentence2")}
    for template in read_templates(context, folder):
        template.filled(slots, _random())


@pytest.mark.parametrize("folder", _FOLDERS)
def test_no_template_stands_twice_in_a_folder(folder: str, tmp_path: Path) -> None:
    """The same words under two names would teach a contradiction, under one name nothing."""
    lines = [template.line.lower() for template in read_templates(_context(tmp_path), folder)]
    assert sorted({line for line in lines if lines.count(line) > 1}) == []


@pytest.mark.parametrize("folder", _FOLDERS)
def test_every_template_file_says_where_it_comes_from(folder: str) -> None:
    """Data files open with their source and date."""
    for path in (OWN_DATA / folder).glob("*.txt"):
        assert path.read_text("utf-8").startswith("# Written for this project, 2026-11")


def test_texts_of_one_template_are_held_out_together() -> None:
    """Otherwise a head would be judged on sentences it knows but for one word."""
    slots = {"thing": ["tea", "milk", "rain", "snow"]}
    made = list(fill([Template("qa", "What is {thing}?"), Template("qa", "Why {thing}?")], slots, _random(), times=20))
    folds = {example.group: {one.fold for one in made if one.group == example.group} for example in made}
    assert len(folds) == 2
    assert all(len(found) == 1 for found in folds.values())


def test_names_that_are_no_class_have_no_label() -> None:
    """What belongs to nothing is an example too."""
    made = list(fill([Template("none", "hello")], {}, _random(), times=5, without={"none"}))
    assert [example.labels for example in made] == [(), ()]


def test_folds_are_even_and_never_change() -> None:
    """A fold depends on the group alone, and groups spread over all folds."""
    folds = np.array([Example("x", (), "s", f"group {number}").fold for number in range(5000)])
    assert np.bincount(folds, minlength=FOLDS).min() > 900
    assert Example("x", (), "s", "group 0").fold == Example("y", ("qa",), "t", "group 0").fold


def test_a_key_knows_neither_case_nor_white_space() -> None:
    """Label files find a prompt again however it was wrapped."""
    assert key_of("Hello  World\n") == key_of("hello world")
    assert key_of("hello world") != key_of("hello, world")


def test_variations_keep_the_words() -> None:
    """What is added or taken away is form: capitals, a point, a greeting, "please"."""
    random = _random(3)
    found = {varied("Write a poem about rain.", random) for _ in range(200)}
    assert len(found) > 8
    assert all("rite a poem about rain" in text for text in found)


def test_passages_are_neighbours_of_a_collection() -> None:
    """A document made of sentences has them in order and at least two."""
    sentences = [f"s{number}." for number in range(40)]
    for text in passages(sentences, _random(), 50, 6):
        numbers = [int(part[1:-1]) for part in text.split()]
        assert 2 <= len(numbers) <= 7
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
