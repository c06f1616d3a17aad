"""The latency report: fresh prompts of the promised length, each asked once, and a process that can be weighed."""

from __future__ import annotations

import msgspec
import numpy as np

from router_extproc.analysis.analyser import Analyser
from router_extproc.analysis.analysis import RequestAnalysis
from router_extproc.training import latency_report

SENTENCES = [f"Committee {number} will meet again on Tuesday to discuss its budget." for number in range(500)]


def test_prompts_are_fresh_and_of_the_promised_length() -> None:
    """No prompt is asked twice, so no cache can flatter; the length is right within a few tokens of English prose."""
    bodies = latency_report._prompts(SENTENCES, 64, np.random.default_rng(0))
    texts = {msgspec.json.decode(body)["messages"][0]["content"] for body in bodies}
    assert len(bodies) == latency_report.PROMPTS
    assert len(texts) > latency_report.PROMPTS * 0.9
    assert {len(text) for text in texts} == {int(64 * 4.6)}


def test_every_prompt_is_timed_once_after_the_warm_up() -> None:
    """As many times as prompts, each greater than nothing; the warm-up does not count."""
    asked: list[RequestAnalysis] = []
    bodies = latency_report._prompts(SENTENCES, 30, np.random.default_rng(0))
    spent, passed = latency_report._times(bodies, Analyser(), asked.append)
    assert len(spent) == len(passed) == len(bodies)
    assert min(spent) > 0
    assert len(asked) == len(bodies) + latency_report._WARM_UP
