"""How long the analysis takes by the prompt's length, and what a process that analyses weighs."""

from __future__ import annotations

import gc
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from router_extproc.analysis.analyser import Analyser
from router_extproc.analysis.analysis import RequestAnalysis
from router_extproc.analysis.classifier import Classifier
from router_extproc.training.pipeline import Context
from router_extproc.training.report import LinePlot, Section, Series, Table

LENGTHS = (30, 64, 300, 1_000, 2_300, 8_000)
# Different prompts of each length; repeating one would measure a warm cache.
PROMPTS = 200
_WARM_UP = 20
CLASSIFIED_LENGTH, CLASSIFIED_LINES = 64, 3_000
_MILLISECONDS = 1_000.0
# English prose has about so many characters a token of o200k_base; the analysis's own count is what the table shows.
_CHARACTERS_A_TOKEN = 4.6

# Prints what a fresh process weighs before and after it has analysed one prompt, in megabytes.
_WEIGH = """
import pathlib, sys
from router_extproc.analysis.analyser import Analyser
from router_extproc.analysis.classifier import Classifier

def weight(field):
    lines = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
    return float(lines[field].split()[0]) / 1024

before = weight("VmRSS")
analysis = Analyser(Classifier.load(pathlib.Path(sys.argv[1]))).analyse(
    b'{"model":"auto","messages":[{"role":"user","content":"Prove that there are infinitely many primes."}]}'
)
analysis.needs_strong, analysis.risk, analysis.tasks, analysis.injection, analysis.language
print(before, weight("VmRSS"), weight("RssAnon"))
"""


class Timed(NamedTuple):
    """Milliseconds for one length of prompts: of the core by what ``auto`` asks for, on the wall, and for all facts."""

    length: int
    tokens: int
    auto_p50: float
    auto_p99: float
    wall_p50: float
    wall_p99: float
    all_p50: float
    all_p99: float


def report(context: Context, artefact: Path) -> Section:
    """Times fresh prompts of each length on one thread, and weighs a process of its own."""
    analyser = Analyser(Classifier.load(artefact))
    sentences = context.texts("sentences")
    rows = [_timed(length, sentences, analyser, context) for length in LENGTHS]
    figures = {f"latency.{row.length}.p50": row.auto_p50 for row in rows}
    figures |= {f"latency.{row.length}.p99": row.auto_p99 for row in rows}
    before, after, private = _weigh(artefact)
    lines, lines_of_a_core = _lines_a_second(sentences, artefact, context)
    figures |= {"memory.process": after, "classify.lines_a_second": lines}
    return Section(
        "Latency and memory",
        f"One thread, {PROMPTS} different prompts a length, made of sentences from the training data; milliseconds of the "
        "core's time from the request's bytes to the facts; `wall` is what a clock on the wall said, which is more where "
        "other processes had the core. `auto` asks for the strength needed, the risk, the kind of work and the tokens.",
        tables=(
            Table(
                "Milliseconds by length",
                ("made for", "counted", "auto p50", "auto p99", "wall p50", "wall p99", "all facts p50", "all facts p99"),
                rows,
            ),
            Table(
                "Megabytes of one process",
                ("before loading", "after one analysis", "of which its own"),
                [(round(before, 1), round(after, 1), round(private, 1))],
                note="The rest is shared with every other process that has the same files open.",
            ),
            Table(
                "`router-extproc classify`",
                ("prompts of tokens", "lines", "cores", "lines a second", "lines a second of one core's time"),
                [(CLASSIFIED_LENGTH, CLASSIFIED_LINES, os.cpu_count() or 1, round(lines), round(lines_of_a_core))],
                note="All facts of each; the start of the process is left out.",
            ),
        ),
        plots=(_plot(rows),),
        figures=figures,
    )


def _timed(length: int, sentences: list[str], analyser: Analyser, context: Context) -> Timed:
    prompts = _prompts(sentences, length, context.random(f"latency {length}"))
    auto, wall = _times(prompts, analyser, _ask_as_auto)
    everything, _ = _times(prompts, analyser, _ask_everything)
    tokens = int(np.median([analyser.analyse(prompt).prompt_tokens for prompt in prompts]))
    shares = [float(share) for spent in (auto, wall, everything) for share in np.percentile(spent, [50, 99])]
    return Timed(length, tokens, *shares)


def _plot(rows: Sequence[Timed]) -> LinePlot:
    tokens = [float(row.tokens) for row in rows]
    return LinePlot(
        "latency",
        "Analysis on one core",
        "tokens",
        "milliseconds",
        [
            Series("auto, p50", tokens, [row.auto_p50 for row in rows], "line"),
            Series("auto, p99", tokens, [row.auto_p99 for row in rows], "dashed"),
            Series("all facts, p50", tokens, [row.all_p50 for row in rows], "line"),
        ],
        logarithmic=True,
    )


def _prompts(sentences: list[str], tokens: int, random: np.random.Generator) -> list[bytes]:
    """Request bodies of about this many tokens, no two alike."""
    wanted = int(tokens * _CHARACTERS_A_TOKEN)
    bodies: list[bytes] = []
    for _ in range(PROMPTS):
        text = ""
        while len(text) < wanted:
            text += sentences[int(random.integers(len(sentences)))] + " "
        message = {"role": "user", "content": text[:wanted]}
        bodies.append(msgspec.json.encode({"model": "auto", "messages": [message]}))
    return bodies


def _times(
    bodies: list[bytes], analyser: Analyser, ask: Callable[[RequestAnalysis], object]
) -> tuple[list[float], list[float]]:
    """Milliseconds for each prompt: of this thread on the core, and on the wall."""
    for body in bodies[:_WARM_UP]:
        ask(analyser.analyse(body))
    gc.collect()
    spent: list[float] = []
    passed: list[float] = []
    for body in bodies:
        started, worked = time.perf_counter(), time.thread_time()
        ask(analyser.analyse(body))
        spent.append((time.thread_time() - worked) * _MILLISECONDS)
        passed.append((time.perf_counter() - started) * _MILLISECONDS)
    return spent, passed


def _ask_as_auto(analysis: RequestAnalysis) -> object:
    return analysis.adequacy, analysis.risk, analysis.tasks, analysis.prompt_tokens


def _ask_everything(analysis: RequestAnalysis) -> object:
    return _ask_as_auto(analysis), analysis.injection, analysis.language, analysis.has_code, analysis.verifiable


def _weigh(artefact: Path) -> tuple[float, float, float]:
    command = [sys.executable, "-c", _WEIGH, str(artefact)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own program
    before, after, private = map(float, printed.split())
    return before, after, private


def _lines_a_second(sentences: list[str], artefact: Path, context: Context) -> tuple[float, float]:
    """How many lines the command classifies in a second of the clock, and of one core's time; its start is subtracted."""
    path = context.cache("latency/prompts.jsonl")
    random = context.random("classify")
    bodies = [body for _ in range(CLASSIFIED_LINES // PROMPTS) for body in _prompts(sentences, CLASSIFIED_LENGTH, random)]

    def seconds(lines: list[bytes]) -> tuple[float, float]:
        path.write_bytes(b"\n".join(lines))
        command = [sys.executable, "-m", "router_extproc", "classify", str(path), "--artefact", str(artefact)]
        started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)  # noqa: S603 - our own command
        passed, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        return passed, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    start, whole = seconds(bodies[:1]), seconds(bodies)
    passed, worked = (max(all_of_it - of_one, 1e-3) for all_of_it, of_one in zip(whole, start, strict=True))
    return len(bodies) / passed, len(bodies) / worked
