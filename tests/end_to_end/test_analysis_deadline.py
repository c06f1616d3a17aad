"""An analyser that hangs costs a request the deadline and no more: it is answered by the strong default, and says so."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from router_extproc.extproc.deadline import PATIENCE
from tests.end_to_end.load import Load, chat
from tests.end_to_end.running import HELLO, Instance, Simulators, running, until

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("healed")]

SIMULATED = {"one": {}, "two": {}}
LATE = "analysis-deadline"
CONFIGURATION = """
analysis: {deadline: 100ms}
providers:
  one: {base_url: $one/v1}
  two: {base_url: $two/v1}
models:
  small: {tier: economy, prices: {input: 0, output: 1}, deployments: [{provider: one}]}
  large: {tier: premium, prices: {input: 0, output: 5}, deployments: [{provider: two}]}
"""
# Python runs this before anything else of a process. While the file `stalled` says how, a text that is to be
# encoded is not.
SITE = """
import pathlib, time
from router_extproc.analysis.encoding import TextEncoding

FOLDER = pathlib.Path(__file__).parent
HOW = {"sleep": lambda: time.sleep(60), "spin": lambda: all(iter(lambda: True, False)), "fail": lambda: 1 / 0}

def stalling(method):
    def stalled(*arguments, **named):
        how = (FOLDER / "stalled").read_text()
        if how:
            HOW[how]()
        return method(*arguments, **named)
    return stalled

TextEncoding.__init__ = stalling(TextEncoding.__init__)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    (folder / "sitecustomize.py").write_text(SITE)
    (folder / "stalled").write_text("")
    return folder


@pytest.fixture(scope="module")
def instance(simulators: Simulators, site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """An instance whose analyser can be made to hang."""
    environment = {"PYTHONPATH": str(site)}
    folder = tmp_path_factory.mktemp("instance")
    with running(Instance(folder, simulators.fill(CONFIGURATION), environment)) as started:
        yield started


@pytest.fixture(params=["sleep", "spin"])
def stalled(request: pytest.FixtureRequest, site: Path) -> Iterator[str]:
    """The analyser waits for something that never comes, or works for ever."""
    (site / "stalled").write_text(request.param)
    yield request.param
    (site / "stalled").write_text("")


def breaches(instance: Instance, reason: str) -> float:
    lines = instance.admin.get(f"{instance.admin_url}/metrics").text.splitlines()
    found = [line for line in lines if line.startswith("router_analysis_failures_total") and f'reason="{reason}"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in found)


def served(answer: httpx.Response) -> tuple[int, str, str]:
    return answer.status_code, answer.headers["x-router-tier"], answer.headers["x-router-reason"]


def test_it_analyses_while_nothing_hangs(instance: Instance) -> None:
    """The instance of this module is an ordinary one: easy goes to economy."""
    until(lambda: served(instance.ask(messages=HELLO)) == (200, "economy", "auto:economy"))


@pytest.mark.usefixtures("stalled")
def test_the_strong_default_answers_within_the_deadline(instance: Instance) -> None:
    """Decided within the deadline and a little, by the strongest, with a reason that says so, in header, log and metrics."""
    before = breaches(instance, "deadline")
    times = []
    for _ in range(3):
        started = time.monotonic()
        answer = instance.ask(messages=HELLO)
        times.append(time.monotonic() - started)
        assert served(answer) == (200, "premium", LATE)
    # Work that has no core gets so many times as long; the machine itself may stand still for longer, though hardly each time.
    assert 0.1 <= min(times) < PATIENCE * 0.1 + 1.0
    record = instance.decision(answer.headers["x-router-decision"])
    assert record["reason"] == LATE
    until(lambda: breaches(instance, "deadline") >= before + 3)


@pytest.mark.usefixtures("stalled")
def test_the_worker_goes_on(instance: Instance) -> None:
    """Request after request ends at its deadline, named models are served beside them, and no worker dies."""
    workers = instance.pids("worker")
    with Load([instance.port], [chat(), chat("small")], connections=4, requests=24) as load:
        load.join(60)
    assert not load.not_served
    assert not load.not_decided
    assert load.by(lambda outcome: outcome.headers["x-router-reason"]) == {LATE: 12, "named": 12}
    assert instance.pids("worker") == workers


def test_afterwards_it_is_as_before(instance: Instance) -> None:
    """Once the analyser answers again its verdicts count again."""
    # A tenth of a second is little where the machine has just begun to do nothing else.
    until(lambda: served(instance.ask(messages=HELLO)) == (200, "economy", "auto:economy"))


def test_an_analyser_that_fails_is_like_one_that_hangs(instance: Instance, site: Path) -> None:
    """An error in it never reaches the client: the strong default answers, and another reason is counted."""
    before = breaches(instance, "error")
    (site / "stalled").write_text("fail")
    try:
        # Where the machine takes the whole deadline for it, it has not failed yet.
        answer = until(lambda: (asked := instance.ask(messages=HELLO)).headers["x-router-reason"] != LATE and asked)
    finally:
        (site / "stalled").write_text("")
    assert served(answer) == (200, "premium", "auto:premium:unclassified")
    until(lambda: breaches(instance, "error") >= before + 1)
    signals = instance.decision(answer.headers["x-router-decision"])["signals"]
    assert "failed: ZeroDivisionError" in [signal["value"] for signal in signals.values()]
