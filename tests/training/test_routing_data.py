"""What the routing score is trained on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from router_extproc.training.pipeline import OWN_DATA, Context
from router_extproc.training.routing_data import DEMAND_FILE, ENOUGH, read_pool
from tests.training_data import data_folder_or_skip

CORPUS = Path(__file__).parents[1] / "analysis" / "corpora" / "routing.json"


def written() -> list[dict[str, str]]:
    """The written prompts."""
    return [json.loads(line) for line in (OWN_DATA / DEMAND_FILE).read_text(encoding="utf-8").splitlines()]


def test_written_prompts_are_each_there_once_and_judged() -> None:
    """No prompt stands twice, and each is of a class that has probabilities."""
    rows = written()
    assert len({row["text"].lower() for row in rows}) == len(rows) > 900
    assert {row["demand"] for row in rows} == set(ENOUGH)


def test_judgements_ascend_by_tier_and_fall_by_class() -> None:
    """A stronger tier is never worse, a harder class never easier."""
    assert all(list(enough) == sorted(enough) for enough in ENOUGH.values())
    assert all(list(tier) == sorted(tier, reverse=True) for tier in zip(*ENOUGH.values(), strict=True))


def test_the_tests_own_prompts_are_not_trained_on() -> None:
    """The hard prompts and typing mistakes that the head is tested with are not among the written ones."""
    corpus = json.loads(CORPUS.read_text(encoding="utf-8"))
    tested = {prompt.lower() for prompt in corpus["hard"]} | {mistyped.lower() for _, mistyped in corpus["typos"]}
    assert tested.isdisjoint(row["text"].lower() for row in written())


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """With the training data."""
    return Context(data=data_folder_or_skip(), work=tmp_path_factory.mktemp("work"), out=tmp_path_factory.mktemp("out"))


def test_every_prompt_carries_only_the_labels_it_can(context: Context) -> None:
    """Written prompts have a demand, exams a difficulty, school problems steps; nothing has all."""
    pool = read_pool(context)
    kinds = np.array(pool.kinds)
    has = {
        "demand": ~np.isnan(pool.demand),
        "difficulty": ~np.isnan(pool.difficulty),
        "steps": ~np.isnan(pool.steps),
    }
    assert set(kinds[has["demand"]]) == {"demand"}
    assert set(kinds[has["difficulty"]]) == {"exam", "options"}
    assert set(kinds[has["steps"]]) == {"steps"}


def test_the_two_forms_of_an_exam_question_are_never_split(context: Context) -> None:
    """A question with and without options has one source, so that no fold judges what another has seen."""
    pool = read_pool(context)
    named = list(zip(pool.kinds, pool.groups, strict=True))
    assert {group for kind, group in named if kind == "exam"} == {group for kind, group in named if kind == "options"}
