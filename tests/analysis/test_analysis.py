"""One request's analysis: what is asked for is worked out once and timed, and nothing can make it fail a request."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import pytest

from router_extproc.analysis.analyser import Analyser
from router_extproc.analysis.analysis import RequestAnalysis
from router_extproc.analysis.classifier import NOTHING_LEARNED, Classifier
from router_extproc.analysis.configured import Configured
from router_extproc.errors import BadRequestError
from router_extproc.facts import Facts, Signal, facts_of


class Clock:
    """Moves on by a second whenever it is looked at, and by what readers say they take."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


@dataclass
class Routing:
    needs_strong: float = 0.25
    complexity: int = 2
    adequacy: tuple[float, float, float] = (0.75, 0.9, 0.95)
    verifiable: float = 0.5
    unsure: tuple[str, ...] = ("misspelt",)


@dataclass
class Named:
    name: str
    scores: Mapping[str, float] = field(default_factory=dict)
    unsure: bool = False


@dataclass
class Attack:
    probability: float = 0.125
    source: str = "tool"
    rule: str | None = "new_orders"
    truncated: bool = False


@dataclass
class Reader:
    """A head that answers always the same, and keeps what it was asked."""

    answer: Any
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    def score(self, *asked: Any, **_: Any) -> Any:
        self.asked.append(asked)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def classifier(**readers: Any) -> Classifier:
    fakes: dict[str, Any] = {
        "encoder": object(),
        "routing": Reader(Routing()),
        "tasks": Reader(Named("code", {"code": 0.9, "math": 0.6})),
        "risk": Reader(Named("none", {"none": 1.0})),
        "injection": Reader(Attack()),
    }
    return Classifier(**fakes | readers)


def body(*said: str) -> bytes:
    messages = [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(said)]
    return json.dumps({"model": "auto", "messages": messages}).encode()


def analyse(*said: str, **readers: Any) -> RequestAnalysis:
    return Analyser(classifier(**readers), Clock()).analyse(body(*said))


def test_every_fact_is_answered() -> None:
    """What the readers say is what the analysis answers."""
    found = facts_of(analyse("Write a sort in Rust"))
    assert (found.needs_strong, found.complexity, found.adequacy, found.verifiable) == (0.25, 2, (0.75, 0.9, 0.95), 0.5)
    assert (found.task, found.tasks, found.risk, found.injection) == ("code", {"code": 0.9, "math": 0.6}, "none", 0.125)
    assert (found.unsure, found.turn, found.step, found.truncated) == (("misspelt",), 1, "first", False)
    assert (found.prompt_tokens > 5, found.characters, found.choices) == (True, 20, 1)


def test_nothing_is_worked_out_that_nobody_asked_for() -> None:
    """The risk alone asks no other head, and the record lists just the way to it."""
    made = classifier()
    analysis = Analyser(made, Clock()).analyse(body("hello"))
    assert analysis.signals() == ()
    assert analysis.risk == "none"
    assert [signal.name for signal in analysis.signals()] == ["conversation", "encoding", "surface", "risk"]
    assert made.routing.asked == made.tasks.asked == made.injection.asked == []  # type: ignore[union-attr]


def test_a_fact_is_worked_out_once() -> None:
    """However often it is asked for, and whichever part of it."""
    made = classifier()
    analysis = Analyser(made, Clock()).analyse(body("hello"))
    for _ in range(3):
        assert (analysis.needs_strong, analysis.complexity, analysis.adequacy) == (0.25, 2, (0.75, 0.9, 0.95))
    assert len(made.routing.asked) == 1  # type: ignore[union-attr]


def test_each_fact_has_its_own_time() -> None:
    """The clock ticks once a look: a fact without others takes a second, one that asks for others does not count theirs."""
    analysis = analyse("hello")
    assert analysis.complexity == 2
    times = {signal.name: signal.milliseconds for signal in analysis.signals()}
    assert times["conversation"] == times["surface"] == 1_000
    # A second of its own, and one before each of the four facts it asked for (and again after the last).
    assert times["routing"] == 5_000
    assert sum(times.values()) == analysis._clock() * 1_000 - 2_000


def test_the_record_shows_values() -> None:
    """Every signal has a name, a value that JSON knows, and a time."""
    analysis = analyse("hello")
    facts_of(analysis)
    shown = {signal.name: signal.value for signal in analysis.signals()}
    assert shown["routing"] == {
        "needs_strong": 0.25,
        "complexity": 2,
        "adequacy": [0.75, 0.9, 0.95],
        "verifiable": 0.5,
        "unsure": ["misspelt"],
    }
    assert shown["injection"] == {"probability": 0.125, "source": "tool", "rule": "new_orders", "truncated": False}
    assert shown["encoding"] == {"truncated": False}
    assert shown["tokens"] == analysis.prompt_tokens
    assert json.loads(json.dumps(shown)) == shown


def test_a_reader_that_fails_costs_its_fact_and_no_more() -> None:
    """The request is decided without it, and the record names the error, but not what it said about the text."""
    analysis = analyse("hello", routing=Reader(ValueError("secret")), tasks=Reader(KeyError("secret")))
    assert (analysis.adequacy, analysis.unsure, analysis.task, analysis.tasks, analysis.risk) == (None, (), None, {}, "none")
    shown = {signal.name: signal.value for signal in analysis.signals()}
    assert (shown["routing"], shown["task"]) == ("failed: ValueError", "failed: KeyError")
    assert "secret" not in str(shown)


def test_a_missing_reader_answers_nothing() -> None:
    """A classifier that has learned nothing leaves every fact of the text unknown, and counts all the same."""
    found = facts_of(Analyser(NOTHING_LEARNED).analyse(body("hello")))
    known = {"prompt_tokens", "characters", "turn", "step", "has_code", "steps", "constraints", "questions"}
    assert all(getattr(found, name) == getattr(Facts(), name) for name in Facts.__struct_fields__ if name not in known)
    assert (found.prompt_tokens > 0, found.characters, found.turn, found.has_code) == (True, 5, 1, False)


def test_an_analysis_cut_short_keeps_what_it_has() -> None:
    """After that no reader is asked; counting is replaced by a rough guess where it was not done."""
    made = classifier()
    analysis = Analyser(made, Clock()).analyse(body("hello"))
    assert analysis.risk == "none"
    analysis.cut_short()
    assert (analysis.risk, analysis.adequacy, analysis.task, analysis.language) == ("none", None, None, None)
    assert analysis.prompt_tokens == len(body("hello")) // 4
    assert (analysis.needs, analysis.choices, analysis.max_output_tokens) == (frozenset(), 1, None)
    assert made.routing.asked == []  # type: ignore[union-attr]
    assert analysis.is_cut_short


def test_an_interruption_leaves_the_analysis_usable() -> None:
    """Whatever unwinds a fact, it can be asked for again, and the times of the others stay true."""

    class Interruption(BaseException):
        pass

    class Stalling(Reader):
        def score(self, *_: Any) -> Any:
            raise Interruption

    analysis = analyse("hello", risk=Stalling(None))
    with pytest.raises(Interruption):
        _ = analysis.risk
    assert "risk" not in {signal.name for signal in analysis.signals()}
    assert analysis.complexity == 2
    analysis.cut_short()
    assert (analysis.risk, analysis.complexity) == (None, 2)


def test_an_interruption_between_any_two_lines_leaves_the_analysis_usable() -> None:
    """Wherever an alarm strikes, the record can still be written and what was asked can be asked again."""

    class Interruption(BaseException):
        pass

    def after(lines: int) -> Callable[..., Any]:
        """A tracer that interrupts when so many lines of the analysis have run."""
        left = lines

        def trace(frame: FrameType, event: str, _: object) -> Any:
            nonlocal left
            if not frame.f_code.co_filename.endswith(("analysis/analysis.py", "analysis/fact.py")):
                return None
            left -= event == "line"
            if left < 0:
                sys.settrace(None)
                raise Interruption
            return trace

        return trace

    interrupted, before = 0, sys.gettrace()
    for lines in range(200):
        analysis = analyse("hello")
        sys.settrace(after(lines))
        try:
            assert analysis.complexity == 2
        except Interruption:
            interrupted += 1
        finally:
            sys.settrace(before)
        analysis.signals()
        assert analysis.complexity == 2
    assert interrupted > 50


def test_the_task_in_progress_is_read_and_not_the_last_yes() -> None:
    """A reader sees the request that a short answer continues."""
    made = classifier()
    analysis = Analyser(made, Clock()).analyse(body("Prove that there are infinitely many primes", "Shall I go on?", "yes"))
    assert (analysis.complexity, analysis.turn) == (2, 2)
    ((encoding, *_),) = made.routing.asked  # type: ignore[union-attr]
    assert "infinitely many primes" in encoding.text


def test_what_a_task_asks_at_once_is_counted() -> None:
    """Steps, constraints and questions of the task in progress are facts, and stand in the record once they were asked for."""
    analysis = analyse("1. Sort them\n2. Print them in at most 10 lines\nWhy?")
    assert (analysis.steps, analysis.constraints, analysis.questions) == (2, 2, 1)
    shown = {signal.name: signal.value for signal in analysis.signals()}
    assert shown["structure"] == {"steps": 2, "constraints": 2, "questions": 1}


def test_a_prompt_without_a_text_is_not_classified() -> None:
    """Of a picture nothing is known; whoever asks then takes a stronger model."""
    parts = [{"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}]
    raw = json.dumps({"model": "auto", "messages": [{"role": "user", "content": parts}]}).encode()
    analysis = Analyser(classifier(), Clock()).analyse(raw)
    assert (analysis.adequacy, analysis.task, analysis.risk, analysis.images) == (None, None, None, 1)


def test_a_long_text_is_known_to_be_cut() -> None:
    """That only beginning and end were looked at is said."""
    assert analyse("word " * 10_000).truncated


def test_what_is_configured_is_asked_too() -> None:
    """Keywords, custom tasks and semantic routes are facts like the others."""

    class Phrases:
        def find(self, text: str) -> list[str]:
            return [phrase for phrase in ("refund", "tax") if phrase in text]

    class Routes:
        def match(self, vector: Any) -> tuple[str | None, float]:
            return ("returns", float(vector))

    class Encoder:
        def encode(self, texts: list[str]) -> list[float]:
            return [0.5 for _ in texts]

    class Tasks:
        def score(self, _: Any) -> dict[str, float]:
            return {"sql": 0.75}

    configured = Configured(Phrases(), None, Routes(), Encoder())
    analysis = Analyser(classifier(), Clock(), configured).analyse(body("a refund please"))
    assert (analysis.keywords, analysis.semantic_route) == ({"refund"}, "returns")
    shown = {signal.name: signal.value for signal in analysis.signals()}
    assert (shown["keywords"], shown["semantic_route"]) == (["refund"], "returns")


def test_a_body_that_cannot_be_read_is_the_clients_mistake() -> None:
    """Malformed JSON is no failure of a reader: it is told."""
    analysis = Analyser(classifier(), Clock()).analyse(b"{")
    with pytest.raises(BadRequestError):
        _ = analysis.prompt_tokens


def test_plain_facts_are_their_own_analysis() -> None:
    """Values need no working out: they are passed on, and nothing is recorded."""
    facts = Facts(prompt_tokens=3)
    assert facts_of(facts) is facts
    assert facts.signals() == ()
    facts.cut_short()
    assert not facts.is_cut_short
    assert Signal("x", 1) == Signal("x", 1, 0.0)
