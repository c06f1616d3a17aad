"""`model: auto` through the real Envoy: what a request is decides where it goes, and the headers say why."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.end_to_end.running import Instance, Simulators, until, until_everywhere

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("healed")]

# Every tier has a coder that costs more than its sibling: only the task can be a reason to take it. The deadline is far
# away, because a machine that is busy with other tests must not decide what these see.
CONFIGURATION = """
analysis: {deadline: 5s}
cooling: {failures: 1000000, window: 1ms}
providers:
  one: {base_url: $one/v1}
  two: {base_url: $two/v1}
  three: {base_url: $three/v1}
models:
  small: {tier: economy, prices: {input: 0, output: 1}, deployments: [{provider: one}]}
  small-coder: {tier: economy, strengths: [code], prices: {input: 0, output: 2}, deployments: [{provider: one}]}
  medium: {tier: standard, prices: {input: 0, output: 3}, deployments: [{provider: two}]}
  medium-coder: {tier: standard, strengths: [code], prices: {input: 0, output: 4}, deployments: [{provider: two}]}
  large: {tier: premium, prices: {input: 0, output: 5}, deployments: [{provider: three}]}
  large-coder: {tier: premium, strengths: [code], prices: {input: 0, output: 6}, deployments: [{provider: three}]}
"""
SIMULATED: dict[str, dict[str, Any]] = {"one": {}, "two": {}, "three": {}}

EASY = ["What is the capital of France?", "hi", "Translate 'good morning' to Spanish.", "What does the word 'frugal' mean?"]
HARD = [
    "Prove that there are infinitely many primes congruent to 3 modulo 4, and say where the argument fails for 1 modulo 4.",
    "Derive the Lamb shift of the 2S state of hydrogen to leading order in alpha, and justify the cutoff.",
    (
        "Three people each tell one truth and one lie: A says B lies and C is a spy, B says A is no spy and C lies, C says A "
        "lies and B is a spy. Exactly one is a spy. Who is it? Show that the answer is unique."
    ),
]
MEDICAL = [
    "Can I take ibuprofen with warfarin?",
    "My chest hurts and my left arm is numb. What should I do?",
    (
        "I am a nurse on a night shift and have the following question about one of my patients, a woman of 71 with chronic "
        "kidney disease, atrial fibrillation and a recent infection, who takes apixaban, metoprolol and furosemide and is now "
        "to be given clarithromycin. Which of the doses must be changed, what must be watched over the next days, and from "
        "which laboratory values on would you stop which of the drugs?"
    ),
]
CODE = [
    "Write a Python function that parses an ISO 8601 duration such as P3DT4H into a timedelta, with unit tests.",
    "Fix this:\n```python\ndef mean(values):\n    return sum(values) / len(value)\n```",
]


def ask(instance: Instance, *said: str, **more: Any) -> httpx.Response:
    """A chat in which user and assistant take turns, the user first and last."""
    messages = [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(said)]
    answer = instance.ask(messages=messages, **more)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-router-route"] == "auto"
    return answer


def why(answer: httpx.Response) -> tuple[str, list[str]]:
    """The tier that the reason names, and what it adds to that."""
    word, tier, *because = answer.headers["x-router-reason"].split(":")
    assert word == "auto"
    return tier, because


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("prompt", EASY)
def test_an_easy_prompt_goes_to_the_economy_tier(instance: Instance, prompt: str, *, stream: bool) -> None:
    """The cheapest model of the lowest tier answers, and the reason names that tier."""
    answer = ask(instance, prompt, stream=stream)
    assert (answer.headers["x-router-tier"], answer.headers["x-router-model"]) == ("economy", "small")
    assert why(answer)[0] == "economy"


@pytest.mark.parametrize("prompt", HARD)
def test_a_hard_prompt_goes_to_premium(instance: Instance, prompt: str) -> None:
    """Proofs, graduate physics and logic puzzles are not for the cheap, however short they are."""
    answer = ask(instance, prompt)
    assert answer.headers["x-router-tier"] == "premium"
    assert why(answer)[0] == "premium"


@pytest.mark.parametrize(
    "prompt", ["Two doors, one liar. Which question do you ask?", "A wolf, a goat and a cabbage must cross a river. How?"]
)
def test_a_puzzle_in_plain_words_is_not_for_the_cheapest(instance: Instance, prompt: str) -> None:
    """It looks easy; that it is to be thought through is the reason."""
    assert why(ask(instance, prompt)) == ("standard", ["reasoning"])


@pytest.mark.parametrize("prompt", MEDICAL)
def test_a_medical_prompt_goes_to_premium_whatever_its_length(instance: Instance, prompt: str) -> None:
    """Risk is a floor, and the reason says that it was."""
    answer = ask(instance, prompt)
    assert answer.headers["x-router-tier"] == "premium"
    assert why(answer)[0] == "premium"


def test_the_reason_says_that_it_was_the_risk(instance: Instance) -> None:
    """A short clinical question is not hard; what raised it stands in the header."""
    assert why(ask(instance, MEDICAL[0])) == ("premium", ["risk=medical"])


@pytest.mark.parametrize("prompt", CODE)
def test_code_goes_to_a_coder(instance: Instance, prompt: str) -> None:
    """In whatever tier it is, the model whose strengths name the task comes before a cheaper one, and the reason says so."""
    answer = ask(instance, prompt)
    assert answer.headers["x-router-model"].endswith("-coder")
    assert "task=code" in why(answer)[1]


def test_a_yes_that_continues_a_hard_task_is_as_hard(instance: Instance) -> None:
    """The task in progress counts, not the newest word; the same word alone is easy."""
    alone = ask(instance, "yes")
    amid = ask(instance, HARD[0], "I can do this in two steps. Shall I go on?", "yes")
    assert (alone.headers["x-router-tier"], amid.headers["x-router-tier"]) == ("economy", "premium")


def test_the_decision_log_lists_what_was_computed(instance: Instance) -> None:
    """Each signal stands in the record with its value and its milliseconds, and no prompt does."""
    answer = ask(instance, MEDICAL[0])
    record = instance.decision(answer.headers["x-router-decision"])
    assert record["reason"] == answer.headers["x-router-reason"]
    signals = record["signals"]
    assert {"conversation", "encoding", "routing", "task", "risk"} <= signals.keys()
    assert signals["risk"]["value"] == {"name": "medical"}
    assert 0 <= signals["routing"]["value"]["needs_strong"] <= 1
    assert all(signal["ms"] >= 0 for signal in signals.values())
    assert "ibuprofen" not in json.dumps(record)


def test_a_text_of_which_the_middle_was_left_out_says_so(instance: Instance) -> None:
    """Head and tail of a very long prompt are looked at, and the record does not hide it."""
    for text, is_cut in (("What is the capital of France?", False), ("An ordinary sentence about the weather. " * 2_000, True)):
        record = instance.decision(ask(instance, text).headers["x-router-decision"])
        assert record["signals"]["encoding"]["value"] == {"truncated": is_cut}


def test_a_named_model_is_not_analysed(instance: Instance) -> None:
    """Nobody asks what a request for a named model is: nothing is computed for it."""
    answer = instance.ask("large", messages=[{"role": "user", "content": MEDICAL[0]}])
    record = instance.decision(answer.headers["x-router-decision"])
    assert record["signals"].keys() <= {"tokens"}


def test_a_dry_run_and_explain_show_the_same_signals(instance: Instance) -> None:
    """The worker and the observer have the same classifier, and both say what it saw."""
    body = {"model": "auto", "messages": [{"role": "user", "content": MEDICAL[0]}]}
    dry = instance.ask(**body, headers={"x-router-dry-run": "1"}).json()
    explained = instance.admin.post(f"{instance.admin_url}/explain", json=body).json()
    assert dry["decision"]["reason"] == explained["decision"]["reason"] == "auto:premium:risk=medical"
    shown = [{one["name"]: one["value"] for one in document["decision"]["signals"]} for document in (dry, explained)]
    assert shown[0] == shown[1]
    assert shown[0]["risk"] == {"name": "medical"}


def test_the_metrics_tell_where_auto_sends_requests(instance: Instance) -> None:
    """Choices by tier and reason, and the time that analysis took, are counted."""

    def figure(start: str) -> float:
        lines = instance.admin.get(f"{instance.admin_url}/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(start))

    before = figure('router_analysis_choices_total{because="risk",tier="premium"}')
    counted = figure("router_analysis_seconds_count")
    ask(instance, MEDICAL[0])
    # Those of the tests before may still be on their way.
    until(lambda: figure('router_analysis_choices_total{because="risk",tier="premium"}') >= before + 1)
    until(lambda: figure("router_analysis_seconds_count") > counted)
    assert figure("router_analysis_seconds_sum") > 0


def test_a_reload_keeps_the_classifier(instance: Instance, simulators: Simulators) -> None:
    """A changed file is in force without a worker reading its classifier again, and analysis goes on."""
    instance.write(instance.configuration + "aliases: {anything: auto}\n")
    until_everywhere(lambda: instance.ask("anything", messages=[{"role": "user", "content": "hi"}]).status_code == 200)
    answer = instance.ask("anything", messages=[{"role": "user", "content": MEDICAL[0]}])
    assert answer.headers["x-router-tier"] == "premium"
    assert [answer["model"] for answer in simulators.bodies("three")] == ["large"]
    logs = [file.read_text() for file in (instance.state / "logs").glob("worker-*.log")]
    assert [log.count("classifier loaded") for log in logs] == [1] * len(logs)
