"""Dry runs are told what budgets would make of a request, and take nothing."""

from __future__ import annotations

import json
from typing import Any

from tests.extproc.admission_stage import BEARER, KEYED, Stage, Told, registry, usd


async def test_a_dry_run_sets_nothing_aside(stage: Stage) -> None:
    """Who asks is still asked for a key, and held against permissions."""
    view = registry(usd(1_000), **KEYED)
    dry = {"x-router-dry-run": "1"}
    assert (await stage.ask(view, headers=dry)).status == 401
    assert (await stage.ask(view, headers=dry | BEARER)).status == 200
    assert stage.tally.admitted == 0


def foretold(told: Told) -> Any:
    assert told.immediate is not None
    return json.loads(told.immediate.body)["admission"]


async def test_a_dry_run_tells_what_budgets_would_make_of_the_request(stage: Stage) -> None:
    """How full they are, and what would follow: nothing is set aside by it, and the request in earnest goes that way."""
    view, dry = registry(usd(1_700)), {"x-router-dry-run": "1"}
    assert (await stage.ask(view, "large")).status == 200
    told = await stage.ask(view, "either", headers=dry)
    again = await stage.ask(view, "either", headers=dry)
    document = foretold(told)
    assert foretold(again) == document
    money = document["budgets"][0]
    assert document["levels_known"]
    assert (money["settled"], money["reserved"], money["wanted"], money["outcome"]) == (
        ("0.000000", "0.001000", "0.001000", "no room")
    )
    assert document["refusal"] is None
    assert document["reasons"] == ["max-tokens-lowered:money"]
    assert document["max_output_tokens"] == 70
    assert stage.tally.admitted == 1


async def test_a_dry_run_without_the_store_says_that_levels_are_not_known(stage: Stage) -> None:
    """Which budgets apply is told all the same."""
    stage.shared.is_away = True
    told = await stage.ask(registry(usd(1_500)), headers={"x-router-dry-run": "1"})
    document = foretold(told)
    assert (document["levels_known"], document["budgets"][0]["settled"]) == (False, None)


async def test_a_dry_run_where_nothing_is_counted_has_no_word_of_budgets(stage: Stage) -> None:
    """There is nothing to tell."""
    told = await stage.ask(registry(), headers={"x-router-dry-run": "1"})
    assert foretold(told) is None
