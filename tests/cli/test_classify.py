"""`router-extproc classify`: what is read, what is written, and what happens to lines that cannot be read."""

from __future__ import annotations

import dataclasses
import io
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from router_extproc.analysis.classifier import Classifier
from router_extproc.analysis.encoders.static import StaticEncoder
from router_extproc.analysis.wordpiece import Vocabulary
from router_extproc.cli import main


class Head:
    """Answers every question about a text with the same values."""

    def __init__(self, **values: object) -> None:
        self.answer = types.SimpleNamespace(**values)

    def score(self, *_: object, **__: object) -> Any:
        return self.answer


@pytest.fixture(autouse=True)
def classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    """A classifier that finds every prompt hard and legal; its encoder knows three pieces."""
    table = np.ones((3, 4), np.int8)
    heads = Classifier(
        encoder=StaticEncoder(Vocabulary(["[UNK]", "a", "b"]), table, np.ones(3, np.float32)),
        routing=Head(needs_strong=0.91234, complexity=9, adequacy=(0.08766, 0.5, 0.9), verifiable=0.4, unsure=("foreign",)),
        tasks=Head(name="qa", scores={"qa": 0.8, "code": 0.1, "reasoning": 0.3, "math": 0.1}, unsure=False, thought=0.2),
        risk=Head(name="legal", scores={"legal": 0.7, "none": 0.3}),
        injection=Head(probability=0.01, source="user", rule=None, span=None, truncated=False),
    )
    monkeypatch.setattr(Classifier, "load", lambda *_: heads)


def classify(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, list[Any]]:
    """The exit code and the lines written, read as JSON."""
    code = main(["classify", *words])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_prompt_becomes_one_line_of_facts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every fact under its name, probabilities by name, and how long each took."""
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "Mit\\u00e4 laki sanoo?"}\n')
    code, (facts,) = classify([str(tmp_path / "prompts.jsonl")], capsys)
    assert code == 0
    timings, tokens, language = (facts.pop(name) for name in ("timings", "tokens", "language"))
    assert facts == {
        "needs_strong": 0.9123,
        "complexity": 9,
        "adequacy": [0.0877, 0.5, 0.9],
        "task": "qa",
        "task_unsure": False,
        "tasks": {"qa": 0.8, "code": 0.1, "reasoning": 0.3, "math": 0.1},
        "reasoning": 0.4,
        "risk": "legal",
        "risks": {"legal": 0.7, "none": 0.3},
        "injection": 0.01,
        "verifiable": 0.4,
        "unsure": ["foreign"],
        "truncated": False,
        "failed": {},
    }
    assert tokens > 0
    assert language in {"fi", None}
    assert timings["total"] >= timings["routing"] >= 0


def test_the_likeliest_task_is_shown_even_when_nobody_would_act_on_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever reads the line sees the best guess and that it is one."""
    guess = Head(name="chat", scores={"chat": 0.3}, unsure=True, thought=0.0)
    loaded = Classifier.load()
    monkeypatch.setattr(Classifier, "load", lambda *_: dataclasses.replace(loaded, tasks=guess))
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(b'{"prompt": "a"}')))
    _, (facts,) = classify(["-"], capsys)
    assert (facts["task"], facts["task_unsure"]) == ("chat", True)


def test_a_prompt_is_counted_alone_and_a_request_with_its_frame(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tokens of a prompt are its text's; those of a request are what a provider counts, so there are more."""
    question = "What is the capital of France?"
    asked = {"prompt": question}, {"messages": [{"role": "user", "content": question}]}
    lines = "\n".join(map(json.dumps, asked)).encode()
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(lines)))
    _, (prompt, request) = classify(["-"], capsys)
    assert (prompt["tokens"], request["tokens"]) == (7, 14)


def test_a_legacy_completion_is_a_request_and_no_chat(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a model a prompt is a body: read as the service reads it, whether text or a list of one."""
    lines = b'{"model": "m", "prompt": "a b"}\n{"model": "m", "prompt": ["a b"]}\n{"model": 5, "prompt": "a b"}'
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(lines)))
    code, (text, listed, refused) = classify(["-"], capsys)
    assert (code, text["tokens"]) == (1, listed["tokens"])
    assert (refused["line"], refused["error"]["type"]) == (3, "invalid_type")


def test_a_byte_order_mark_is_no_part_of_the_first_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file written on Windows is read like any other."""
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(b'\xef\xbb\xbf{"prompt": "a"}\n')))
    assert classify(["-"], capsys)[0] == 0


def test_request_bodies_and_prompts_may_be_mixed_and_keep_their_order(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A body needs no model here; blank lines are nothing; a line that cannot be read is answered in its place."""
    lines = [
        '{"messages": [{"role": "user", "content": "a"}]}',
        "",
        "not JSON",
        "[1]",
        '{"question": "what?"}',
        '{"model": 7, "messages": []}',
        '{"prompt": "b"}',
    ]
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO("\n".join(lines).encode())))
    code, answers = classify(["-"], capsys)
    assert code == 1
    assert [answer.get("line") for answer in answers] == [None, 3, 4, 5, 6, None]
    types_of_error = [answer["error"]["type"] for answer in answers if "error" in answer]
    assert types_of_error[:3] == ["invalid_json"] * 3
    assert all(answer["error"]["message"] for answer in answers if "error" in answer)


def test_many_processes_answer_as_one_would(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the number of processes, the answers come in the order of the lines, errors in their places."""
    file = tmp_path / "prompts.jsonl"
    file.write_text(
        "".join("not JSON\n" if place % 50 == 7 else f'{{"prompt": "{"a " * place}"}}\n' for place in range(1, 301))
    )
    answers = {number: classify([str(file), "--processes", str(number)], capsys) for number in (1, 2)}
    for _, lines in answers.values():
        for line in lines:
            line.pop("timings", None)
    assert answers[1] == answers[2]
    assert answers[2][0] == 1
    assert [answer["line"] for answer in answers[2][1] if "line" in answer] == [7, 57, 107, 157, 207, 257]


def test_a_fact_that_fails_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A defect of one head costs that fact alone, and shows."""

    def stumble(*_: object, **__: object) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(Head, "score", stumble)
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "a"}')
    code, (facts,) = classify([str(tmp_path / "prompts.jsonl")], capsys)
    assert code == 0
    assert facts["needs_strong"] is None
    assert facts["failed"]["routing"] == "ZeroDivisionError"


def test_pretty_is_a_line_of_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For people: the same facts side by side, errors in words."""
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "a"}\nnot JSON\n')
    assert main(["classify", "--pretty", str(tmp_path / "prompts.jsonl")]) == 1
    facts, error = capsys.readouterr().out.splitlines()
    for word in ("complexity 9", "needs_strong 0.9123", "risk legal", "unsure: foreign"):
        assert word in facts
    assert error.startswith("line 2: ")


def test_a_file_that_is_not_there_is_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The complaint names the file, on standard error."""
    assert main(["classify", str(tmp_path / "nothing.jsonl")]) == 2
    assert "nothing.jsonl" in capsys.readouterr().err


@pytest.mark.parametrize("problem", [FileNotFoundError("no table"), ValueError("of another shape"), KeyError("ceiling")])
def test_an_artefact_that_cannot_be_loaded_is_named(
    problem: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which folder, and what is wrong with it; no traceback."""

    def load(*_: object) -> Classifier:
        raise problem

    monkeypatch.setattr(Classifier, "load", load)
    (tmp_path / "prompts.jsonl").write_text("")
    assert main(["classify", str(tmp_path / "prompts.jsonl"), "--artefact", str(tmp_path)]) == 1
    complaint = capsys.readouterr().err
    assert str(tmp_path) in complaint
    assert str(problem) in complaint


def test_an_empty_artefact_is_no_classifier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lines full of nothing would look like an answer."""
    monkeypatch.setattr(Classifier, "load", lambda *_: Classifier())
    (tmp_path / "prompts.jsonl").write_text("")
    assert main(["classify", str(tmp_path / "prompts.jsonl"), "--artefact", str(tmp_path)]) == 1
    assert "holds no classifier" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": 42}', "prompt must be text or a list"),
        ('{"prompt": null, "model": "auto"}', "prompt must be text or a list"),
        ('{"messages": "hello"}', "messages must be a list"),
        ('{"input": {"text": "hello"}}', "input must be text or a list"),
    ],
)
def test_a_text_of_another_type_is_an_error_and_no_empty_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    """Facts that are all null would look as if the line had been understood."""
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(line.encode())))
    code, (answer,) = classify(["-"], capsys)
    assert code == 1
    assert answer == {"line": 1, "error": {"type": "invalid_type", "message": message}}


@pytest.mark.parametrize("number", ["0", "-1", "two"])
def test_a_number_of_processes_that_is_none_is_wrong_use(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Told by the command line, not by a traceback."""
    with pytest.raises(SystemExit) as ended:
        main(["classify", "-", f"--processes={number}"])
    assert ended.value.code == 2
    assert "above zero" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line",
    [b'{"prompt": "caf\xe9"}', b"\xff\xfe", b'{"prompt": "\\ud800"}', b'{"prompt": ' + b"[" * 100_000],
    ids=["latin-1", "UTF-16", "surrogate", "nesting"],
)
def test_bytes_that_are_no_text_are_an_error_in_their_place(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: bytes
) -> None:
    """Latin-1, half a character, brackets without end: the lines after it are read all the same."""
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(line + b'\n{"prompt": "a"}\n')))
    code, (broken, facts) = classify(["-"], capsys)
    assert code == 1
    assert (broken["line"], broken["error"]["type"]) == (1, "invalid_json")
    assert facts["task"] == "qa"
