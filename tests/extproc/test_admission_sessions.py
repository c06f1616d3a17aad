"""Sessions that go round in circles, and those that do not."""

from __future__ import annotations

from typing import Any

import pytest

from router_extproc.registry.snapshot import Registry
from router_extproc.registry.spending import (
    LoopGuard,
)
from tests.extproc.admission_stage import Stage, Told, registry, usd


async def loop(stage: Stage, view: Registry, times: int, *, session: str = "s", step: int = 0, **more: Any) -> list[Told]:
    """An agent that calls one tool over and over; with a ``step`` its arguments change each time."""
    told = []
    for number in range(times):
        calls = [{"id": f"call_{number}", "function": {"name": "look", "arguments": f'{{"page": {number * step}}}'}}]
        said = [
            {"role": "user", "content": "Find it."},
            {"role": "assistant", "tool_calls": calls},
            {"role": "tool", "tool_call_id": f"call_{number}", "content": "nothing here"},
        ]
        headers = {"x-router-session": session} | more
        told.append(await stage.ask(view, headers=headers, messages=said, tools=[{"type": "function"}]))
    return told


async def test_a_session_that_goes_round_in_circles_is_warned_asked_to_sum_up_and_stopped(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """First a word in the reason, then no tools and a last line, then an error that explains itself."""
    view = registry(loop_guard=LoopGuard(mode="enforce", repeats=5))
    told = await loop(stage, view, 6)
    assert [one.status for one in told] == [200] * 5 + [429]
    assert [one.reason.partition("+")[2] for one in told[:5]] == ["", "", "", "loop-warned", "loop-summary"]
    assert told[3].body is None
    assert "tools" not in told[4].body
    assert told[4].body["messages"][-1]["role"] == "system"
    assert told[5].error["code"] == "loop_stopped"
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_a_long_honest_session_goes_on(stage: Stage) -> None:
    """Each step does something else; and sessions, or requests without one, do not count for each other."""
    view = registry(loop_guard=LoopGuard(mode="enforce", repeats=3))
    assert {one.status for one in await loop(stage, view, 12, step=1)} == {200}
    assert {one.status for session in "abcde" for one in await loop(stage, view, 2, session=session)} == {200}
    assert {one.status for one in await loop(stage, view, 6, session="")} == {200}


async def test_the_name_of_a_session_is_bounded(stage: Stage) -> None:
    """It travels through metadata and log; long ones stay different."""
    sessions = ["s", " s ", "x" * 5_000, "x" * 5_000 + "y"]
    view = registry(usd(10_000))
    names = [(await stage.ask(view, headers={"x-router-session": name})).account.session for name in sessions]
    assert names[:2] == ["s", "s"]
    assert len(set(names[2:])) == 2
    assert max(len(name) for name in names) <= 128
