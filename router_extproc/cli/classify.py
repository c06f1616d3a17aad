"""``router-extproc classify``: what the classifier reads from prompts, one JSON line each; nobody is called."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import multiprocessing
import os
import sys
import time
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from router_extproc.analysis.analyser import Analyser
from router_extproc.analysis.analysis import RequestAnalysis
from router_extproc.analysis.classifier import Classifier
from router_extproc.analysis.location import artefact_folder
from router_extproc.analysis.tokens import count_tokens
from router_extproc.cli.train import number_above_zero
from router_extproc.errors import BadRequestError, RequestError, StartError

FINE, FOUND_SOMETHING, WRONG_USE = 0, 1, 2
_STDIN = "-"
_MILLISECONDS = 1_000.0
_DIGITS = 4
# Lines that a process gets at a time.
_CHUNK = 64
_SHOWN_CHARACTERS = 60
# Where a line holds its text, and as what: nothing would be found in anything else, as if there were no text.
_TEXTS: dict[str, tuple[tuple[type, ...], str]] = {
    "prompt": ((str, list), "text or a list"),
    "messages": ((list,), "a list"),
    "input": ((str, list), "text or a list"),
}


class ErrorLine(msgspec.Struct, frozen=True):
    """What stands in place of the facts of a line that could not be read; ``line`` counts from 1."""

    line: int
    error: dict[str, str]


class FactsLine(msgspec.Struct, frozen=True):
    """The facts of one line. Probabilities are 0 to 1; null means not known.

    ``needs_strong``, ``complexity``, ``reasoning``, ``risk``, ``injection``, ``language``, ``verifiable``, ``unsure`` and
    ``truncated`` as in ``router_extproc.facts.Facts``; ``task`` is the likeliest kind of work, ``task_unsure`` that the router
    would not act on it; ``tasks`` and ``risks`` are all probabilities by name; ``tokens`` counts the text of a prompt, or all
    that a provider would count of a request; ``timings`` are milliseconds for each fact and in ``total``.
    """

    needs_strong: float | None
    complexity: int | None
    adequacy: tuple[float, ...] | None
    task: str | None
    task_unsure: bool
    tasks: dict[str, float]
    reasoning: float | None
    risk: str | None
    risks: dict[str, float]
    injection: float | None
    language: str | None
    tokens: int
    verifiable: float | None
    unsure: tuple[str, ...]
    truncated: bool | None
    failed: dict[str, str]
    timings: dict[str, float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "file", metavar="FILE", help='JSON lines: {"prompt": "..."} or the body of an OpenAI request; - reads standard input'
    )
    parser.add_argument("--artefact", type=Path, metavar="DIR", help="default: $ROUTER_EXTPROC_ARTEFACT, else the shipped one")
    parser.add_argument(
        "--processes", type=number_above_zero, metavar="N", help="default: one a core for a file, one for standard input"
    )
    parser.add_argument("--pretty", action="store_true", help="one line of words for each prompt instead of JSON")


def run(arguments: argparse.Namespace) -> int:
    """Writes one line for each line read, in order; 1 when some could not be read, 2 for wrong use."""
    with contextlib.ExitStack() as stack:
        try:
            lines = sys.stdin.buffer if arguments.file == _STDIN else stack.enter_context(Path(arguments.file).open("rb"))
        except OSError as error:
            print(f"router-extproc classify: {error}", file=sys.stderr)
            return WRONG_USE
        # Whoever feeds standard input line by line waits for each answer; a file is there to be worked through.
        processes = arguments.processes or (1 if arguments.file == _STDIN else os.cpu_count() or 1)
        answer = Answerer(_analyser(arguments.artefact), is_pretty=arguments.pretty)
        return _print(answer.all(lines, processes))


def _analyser(folder: Path | None) -> Analyser:
    """The classifier of the artefact, timed by the process's own clock.

    Raises:
        StartError: the artefact is missing or cannot be read.
    """
    folder = folder or artefact_folder(os.environ)
    try:
        classifier = Classifier.load(folder)
    except (KeyError, OSError, ValueError) as error:
        # A KeyError: the files are of another version, and lack an array.
        raise StartError(f"the classifier cannot be loaded from {folder}: {error}") from error
    if classifier.routing is None:
        raise StartError(f"{folder} holds no classifier: name one with --artefact DIR")
    return Analyser(classifier, clock=time.perf_counter)


def _print(answers: Iterable[tuple[str, bool]]) -> int:
    code = FINE
    for text, is_fine in answers:
        if not is_fine:
            code = FOUND_SOMETHING
        print(text, flush=True)
    return code


class Answerer:
    """Turns lines into the lines that answer them, each with whether it could be read."""

    def __init__(self, analyser: Analyser, *, is_pretty: bool) -> None:
        self._analyser, self._is_pretty = analyser, is_pretty
        self._encode = msgspec.json.Encoder().encode

    def all(self, lines: Iterable[bytes], processes: int) -> Iterator[tuple[str, bool]]:
        """The answers in order. Processes beyond the first are forked, so they share the classifier's memory."""
        if processes == 1:
            yield from map(self.one, _numbered(lines))
            return
        with multiprocessing.get_context("fork").Pool(processes, _adopt, (self,)) as pool:
            for answered in pool.imap(_answer_chunk, _chunks(_numbered(lines))):
                yield from answered

    def one(self, numbered: tuple[int, bytes]) -> tuple[str, bool]:
        """The answer to one line."""
        number, line = numbered
        answer = self._answer(number, line)
        text = _words(answer, line) if self._is_pretty else self._encode(answer).decode()
        return text, isinstance(answer, FactsLine)

    def _answer(self, number: int, line: bytes) -> FactsLine | ErrorLine:
        try:
            body, prompt = _body(line)
            return read_facts(self._analyser.analyse(body), prompt)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return ErrorLine(number, {"type": "invalid_json", "message": str(error)})
        except RequestError as error:
            return ErrorLine(number, {"type": error.reason, "message": error.message})


# The answerer of a forked process: handed over once, not with every chunk.
_adopted: Answerer


def _adopt(answerer: Answerer) -> None:
    global _adopted  # noqa: PLW0603 - a forked process's own
    _adopted = answerer


def _answer_chunk(chunk: list[tuple[int, bytes]]) -> list[tuple[str, bool]]:
    return [_adopted.one(numbered) for numbered in chunk]


def _chunks(numbered: Iterator[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    while chunk := list(itertools.islice(numbered, _CHUNK)):
        yield chunk


def _numbered(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(lines, 1):
        text = line.removeprefix(BOM_UTF8) if number == 1 else line  # some editors begin a file with it
        if text.strip():
            yield number, text


def _body(line: bytes) -> tuple[bytes, str | None]:
    """The line as a request body: a prompt becomes a chat of one message, a body without a model asks for ``auto``.

    Beside it stands the prompt alone, where the line is nothing else.
    """
    row = msgspec.json.decode(line, type=dict[str, Any])
    prompt = row.get("prompt")
    if isinstance(prompt, str) and "model" not in row:
        return msgspec.json.encode({"model": "auto", "messages": [{"role": "user", "content": prompt}]}), prompt
    written = [member for member in _TEXTS if member in row]
    if not written:
        raise msgspec.DecodeError("neither prompt nor messages nor input is there")
    for member in written:
        kinds, words = _TEXTS[member]
        if not isinstance(row[member], kinds):
            raise BadRequestError(f"{member} must be {words}", code="invalid_type")
    return line if "model" in row else msgspec.json.encode({"model": "auto", **row}), None


def read_facts(analysis: RequestAnalysis, prompt: str | None = None) -> FactsLine:
    """All facts of one request, each worked out and timed; ``prompt`` is its text where that alone is to be counted."""
    started = time.perf_counter()
    routing, danger = analysis.routing, analysis.danger
    facts = FactsLine(
        needs_strong=_rounded(routing.needs_strong) if routing else None,
        complexity=analysis.complexity,
        adequacy=tuple(round(share, _DIGITS) for share in routing.adequacy) if routing else None,
        task=analysis.task or (analysis.kind.name if analysis.kind else None),
        task_unsure=analysis.task is None,
        tasks=_shares(analysis.tasks),
        reasoning=_rounded(analysis.reasoning),
        risk=analysis.risk,
        risks=_shares(danger.scores if danger else {}),
        injection=_rounded(analysis.injection),
        language=analysis.language,
        tokens=analysis.prompt_tokens if prompt is None else count_tokens(prompt),
        verifiable=_rounded(analysis.verifiable),
        unsure=analysis.unsure,
        truncated=analysis.truncated,
        failed={},
        timings={},
    )
    total = (time.perf_counter() - started) * _MILLISECONDS
    for signal in analysis.signals():
        facts.timings[signal.name] = signal.milliseconds
        if isinstance(signal.value, str) and signal.value.startswith("failed: "):
            facts.failed[signal.name] = signal.value.removeprefix("failed: ")
    facts.timings["total"] = round(total, _DIGITS)
    return facts


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, _DIGITS)


def _shares(scores: Mapping[str, float]) -> dict[str, float]:
    return {name: round(float(score), _DIGITS) for name, score in scores.items()}


def _words(answer: FactsLine | ErrorLine, line: bytes) -> str:
    """One line for people: the facts in columns, then the beginning of what was read."""
    if isinstance(answer, ErrorLine):
        return f"line {answer.line}: {answer.error['message']}"
    start = " ".join(line.decode(errors="replace").split())[:_SHOWN_CHARACTERS]
    unsure = f"  unsure: {', '.join(answer.unsure)}" if answer.unsure else ""
    columns = (
        f"complexity {_column(answer.complexity, 2)}",
        f"needs_strong {_column(answer.needs_strong, 6)}",
        f"task {_column(answer.task, 21)}",
        f"risk {_column(answer.risk, 12)}",
        f"injection {_column(answer.injection, 6)}",
        f"language {_column(answer.language, 3)}",
        f"tokens {_column(answer.tokens, 6)}",
    )
    return "  ".join(columns) + f"  {start}{unsure}"


def _column(value: object, width: int) -> str:
    return f"{'-' if value is None else value!s:<{width}}"
