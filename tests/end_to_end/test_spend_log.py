"""Without keys and budgets nobody pays, but what every call cost is written down all the same, as its provider bills it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.end_to_end.load import Load, chat
from tests.end_to_end.running import HELLO, until
from tests.end_to_end.spending import World, world

pytestmark = pytest.mark.end_to_end


@pytest.fixture(scope="module")
def unpaid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("unpaid"), replicas=1, workers=2, auth="none") as built:
        yield built


def test_the_ledger_says_what_providers_bill(unpaid: World) -> None:
    """Plain answers and streams that report usage, to the micro-dollar; no tenant has them and no counter knows of them."""
    [instance] = unpaid.instances
    bodies = [chat("small", max_tokens=20), chat("small", stream=True, stream_options={"include_usage": True})]
    with Load([instance.port], bodies, requests=60, connections=8) as load:
        load.join()
    assert load.not_served == []
    rows = until(lambda: next((rows for rows in [unpaid.ledger()] if len(rows) == 60), None), seconds=20)
    assert sum(row["cost_micro_usd"] for row in rows) == sum(unpaid.billed()) > 0
    assert {(row["tenant"], row["model"], row["provider"], row["usage_source"]) for row in rows} == {
        ("", "small", "one", "provider")
    }
    assert len({row["request"] for row in rows}) == 60
    with closing(sqlite3.connect(f"file:{instance.state / 'ledger.sqlite'}?mode=ro", uri=True)) as connection:
        assert connection.execute("select count(*) from totals").fetchone() == (0,)


def test_a_stream_without_a_report_costs_its_prompt_and_what_came(unpaid: World) -> None:
    """As clients ask for streams unless told otherwise: the prompt as estimated, a token for each event but the first."""
    [instance] = unpaid.instances
    answer = instance.ask("small", stream=True, max_tokens=20)
    identity = answer.headers["x-router-decision"]
    rows = until(lambda: [row for row in unpaid.ledger() if row["request"] == identity], seconds=20)
    assert [(row["usage_source"], row["prompt_tokens"] > 0, row["cost_micro_usd"] > 0) for row in rows] == [
        ("events", True, True)
    ]
    events = answer.text.count("data: ")
    assert rows[0]["completion_tokens"] == events - 1


def test_a_failed_call_is_a_row_that_costs_nothing(unpaid: World) -> None:
    """Who was asked and why it was of no use can be read; a refusal of ours asked nobody and is none."""
    [instance] = unpaid.instances
    unpaid.simulators.faults("one", status=500)
    failed = instance.ask("small").headers["x-router-decision"]
    unpaid.simulators.faults("one")
    with instance.http() as http:
        assert http.post("/v1/chat/completions", json={"model": "unheard-of", "messages": HELLO}).status_code == 404
    answered = instance.ask("small").headers["x-router-decision"]
    rows = until(
        lambda: (found := {row["request"]: row for row in unpaid.ledger()}) and {failed, answered} <= found.keys() and found
    )
    assert (rows[failed]["status"], rows[failed]["cost_micro_usd"], rows[failed]["usage_source"]) == (500, 0, "none")
    assert len(rows) == 63
