"""What knowing a request costs: `auto` decided in this process by length of prompt, and end to end beside a named model."""

from __future__ import annotations

import gc
import os
import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from router_extproc.analysis.classifier import Classifier
from router_extproc.analysis.location import artefact_folder
from router_extproc.config.load import parse_config
from router_extproc.extproc.learned import exercise
from router_extproc.registry.catalogue import load_catalogue
from router_extproc.registry.compile import compile_registry
from router_extproc.request import CHAT_COMPLETIONS
from router_extproc.router import Router
from tests.bench import wrk
from tests.bench.prompts import body, prompts
from tests.end_to_end.running import Instance

TOKENS = (16, 30, 64, 128, 300, 600, 1_200, 2_300, 4_000, 8_000)
DISTINCT = 200
# Of one round and one length; the shortest lengths would otherwise be measured in no time at all.
ROUND_SECONDS = 1.0
HEADERS = {"content-type": "application/json"}

CONFIGURATION = """
providers:
  simulated: {base_url: "http://127.0.0.1:%d/v1"}
models:
  small: {tier: economy, prices: {input: 1, output: 1}, deployments: [{provider: simulated, model: gpt-4o}]}
  medium: {tier: standard, prices: {input: 2, output: 2}, deployments: [{provider: simulated, model: gpt-4o}]}
  coder: {tier: standard, strengths: [code], prices: {input: 2, output: 3}, deployments: [{provider: simulated, model: gpt-4o}]}
  large: {tier: premium, prices: {input: 5, output: 5}, deployments: [{provider: simulated, model: gpt-4o}]}
"""


@dataclass(frozen=True)
class Latency:
    """Milliseconds of deciding one request: all of it (JSON, analysis, choice), and the analysis within it.

    ``core`` is the processor's own time, without that of others who had the core meanwhile.
    """

    decide_p50_ms: float
    decide_p99_ms: float
    core_p50_ms: float
    core_p99_ms: float
    analysis_p50_ms: float
    analysis_p99_ms: float


@dataclass(frozen=True)
class Memory:
    """Megabytes of a worker: resident, and its proportional share of what processes have in common."""

    resident_mb: float
    proportional_mb: float
    shared_mb: float


def router(classifier: Classifier) -> Router:
    """A router of three tiers whose ``auto`` goes by analysis."""
    registry = compile_registry(parse_config(CONFIGURATION % 1, "bench"), load_catalogue())
    return Router(registry, classifier, time.perf_counter)


def by_length(rounds: int) -> dict[str, Latency]:
    """Latencies by the prompt's tokens: for each figure the median of the rounds, which take the lengths in turn."""
    classifier = Classifier.load(artefact_folder(os.environ))
    exercise(classifier)
    deciding = router(classifier)
    bodies = {tokens: [body(prompt) for prompt in prompts(tokens, DISTINCT)] for tokens in TOKENS}
    gc.collect()
    gc.freeze()
    seen: dict[int, list[Latency]] = {tokens: [] for tokens in TOKENS}
    for _ in range(rounds):
        for tokens in TOKENS:
            seen[tokens].append(_round(deciding, bodies[tokens]))
    return {str(tokens): _median(rows) for tokens, rows in seen.items()}


def _round(deciding: Router, bodies: Sequence[bytes]) -> Latency:
    columns: tuple[list[float], ...] = ([], [], [])
    until = time.perf_counter() + ROUND_SECONDS
    while time.perf_counter() < until:
        for one in bodies:
            worked, started = time.thread_time(), time.perf_counter()
            decision = deciding.decide(deciding.read("POST", CHAT_COMPLETIONS, HEADERS, one))
            took, own = time.perf_counter() - started, time.thread_time() - worked
            analysed = sum(signal.milliseconds for signal in decision.signals)
            for column, value in zip(columns, (took * 1_000, own * 1_000, analysed), strict=True):
                column.append(value)
    return Latency(*(_percentile(column, percent) for column in columns for percent in (50, 99)))


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def _median(rows: list[Latency]) -> Latency:
    return Latency(*(statistics.median(column) for column in zip(*(asdict(row).values() for row in rows), strict=True)))


def named_and_auto(instance: Instance, folder: Path, rounds: int, seconds: int) -> dict[str, float]:
    """End-to-end p50 in milliseconds of short prompts, one client: for a named model, for ``auto``, and what that adds."""
    short = prompts(30, 50)
    scripts = {
        model: wrk.write_script(folder / f"{model}.lua", *(body(prompt, model) for prompt in short))
        for model in ("large", "auto")
    }
    seen: dict[str, list[float]] = {model: [] for model in scripts}
    for _ in range(rounds):
        for model, script in scripts.items():
            measured = wrk.run(instance.url, script, 1, seconds)
            assert not measured.failed, measured
            seen[model].append(measured.p50_ms)
    named, auto = (statistics.median(values) for values in seen.values())
    return {"named_p50_ms": named, "auto_p50_ms": auto, "added_p50_ms": auto - named}


def memory(pid: int) -> Memory:
    """What the kernel says of a worker's memory."""
    found = dict(re.findall(r"^(\w+):\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii"), re.MULTILINE))
    sizes = {name: int(kilobytes) * 1_024 / 1e6 for name, kilobytes in found.items()}
    return Memory(sizes["Rss"], sizes["Pss"], sizes["Shared_Clean"])
