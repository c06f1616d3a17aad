"""``make bench``: what the router adds, side by side in one run.

Four ways to the same simulated provider: directly, through Envoy without ext_proc, through Envoy with a bare servicer in
the router's own filter chain, and through Envoy with the router. Absolute times say something about the machine only;
the ratios say something about the router. Then what knowing a request costs (``tests.bench.analysis``): `auto` by length of
prompt, `auto` beside a named model, and the memory of a worker with its classifier. Last what limits cost
(``tests.bench.limits``): the service without any, on SQLite and on Redis.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, astuple, fields
from functools import partial
from pathlib import Path

import httpx

from router_extproc.config.load import load_config
from router_extproc.config.state import StateDirectory
from router_extproc.supervisor.control import ControlPlane
from router_extproc.supervisor.envoy import command_line, find_envoy
from tests.bench import analysis, limits, wrk
from tests.end_to_end.running import Instance, Simulators, until
from tests.tied import tied

CONCURRENCIES = (1, 16, 64)
BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": "What is the capital of France?"}], "temperature": 0.5}
CONFIGURATION = """
workers: {count: 1}
providers:
  simulated: {base_url: "http://127.0.0.1:%d/v1", models: [gpt-4o]}
"""
Targets = dict[str, str]


@contextmanager
def targets(folder: Path) -> Iterator[Targets]:
    """All four, running, by name."""
    with ExitStack() as stack:
        simulators = Simulators(folder, {"simulated": {"models": ["gpt-4o"]}}, record=False)
        stack.callback(simulators.stop)
        configuration = CONFIGURATION % simulators.ports["simulated"]
        router = _instance(stack, folder / "router", configuration)
        bare = _bare(stack, folder / "bare", configuration)
        alone = _instance(stack, folder / "alone", configuration)
        _without_ext_proc(alone)
        yield {
            "simulator": simulators.url("simulated"),
            "envoy": alone.url,
            "bare": bare,
            "router": router.url,
        }


def _instance(stack: ExitStack, folder: Path, configuration: str) -> Instance:
    instance = Instance(folder, configuration).start()
    stack.callback(instance.stop)
    return instance


def _bare(stack: ExitStack, folder: Path, configuration: str) -> str:
    """The files that the router would render, its observer, and the bare servicer where Envoy looks for the worker."""
    instance = Instance(folder, configuration)
    state = StateDirectory.beside(instance.file)
    state.create()
    config = load_config(instance.file)
    ControlPlane(lambda: config, state, {}).start()
    for command in (
        [sys.executable, "-m", "router_extproc.observer", "--state", str(state.root)],
        [sys.executable, "-m", "tests.bench.bare", str(state.worker_socket(0))],
        command_line(find_envoy(), state.envoy / "bootstrap.json", state.envoy_log, config.envoy.concurrency),
    ):
        process = subprocess.Popen(tied(command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stack.callback(process.wait)
        stack.callback(process.kill)
    return instance.url


def _without_ext_proc(instance: Instance) -> None:
    """Takes the route leg out of the listener; all else stays."""
    file = instance.state / "envoy" / "lds.json"
    document = json.loads(file.read_text())
    for chain in document["resources"][0]["filter_chains"]:
        for network in chain["filters"]:
            filters = network["typed_config"]["http_filters"]
            network["typed_config"]["http_filters"] = [one for one in filters if "ext_proc" not in one["name"]]
    document["version_info"] = "without-ext-proc"
    temporary = file.with_suffix(".bench")
    temporary.write_text(json.dumps(document))
    temporary.replace(file)
    until(lambda: instance.envoy_figures("listener_manager.listener_modified").get("listener_manager.listener_modified"))


def _require_the_path(urls: Targets) -> None:
    """Each target must serve the request the way its name says, or the figures would mean nothing."""
    for name, url in urls.items():
        answer = until(partial(_try, url))
        assert answer.status_code == 200, f"{name}: {answer.status_code} {answer.text}"
        decided = "x-router-reason" in answer.headers and "x-router-degraded" not in answer.headers
        assert decided == (name == "router"), f"{name}: {dict(answer.headers)}"


def _try(url: str) -> httpx.Response | None:
    try:
        return httpx.post(f"{url}/v1/chat/completions", json=BODY, trust_env=False)
    except httpx.TransportError:
        return None


def measure(urls: Targets, folder: Path, rounds: int, seconds: int) -> dict[str, dict[str, dict[str, float]]]:
    """Median of the rounds for each target and concurrency; the targets take turns so that drift meets all of them."""
    script = wrk.write_script(folder / "chat.lua", json.dumps(BODY).encode())
    figures: dict[str, dict[str, dict[str, float]]] = {name: {} for name in urls}
    for concurrency in CONCURRENCIES:
        seen: dict[str, list[wrk.Measured]] = {name: [] for name in urls}
        for _ in range(rounds):
            for name, url in urls.items():
                seen[name].append(wrk.run(url, script, concurrency, seconds))
        for name, rows in seen.items():
            columns = {key: [asdict(row)[key] for row in rows] for key in asdict(rows[0])}
            figures[name][f"c{concurrency}"] = {key: statistics.median(values) for key, values in columns.items()}
            figures[name][f"c{concurrency}"]["failed"] = sum(columns["failed"])
    return figures


def ratios(figures: dict[str, dict[str, dict[str, float]]]) -> dict[str, float]:
    """What the router adds in units of what the bare servicer adds, and its throughput in units of Envoy's."""
    found = {}
    for concurrency in CONCURRENCIES:
        key = f"c{concurrency}"
        envoy, bare, router = (figures[name][key] for name in ("envoy", "bare", "router"))
        found[f"added_p50_vs_bare_{key}"] = (router["p50_ms"] - envoy["p50_ms"]) / (bare["p50_ms"] - envoy["p50_ms"])
        found[f"throughput_vs_envoy_{key}"] = router["throughput"] / envoy["throughput"]
        found[f"throughput_vs_bare_{key}"] = router["throughput"] / bare["throughput"]
    return found


def _print_table(figures: dict[str, dict[str, dict[str, float]]]) -> None:
    print(f"{'':14}{'':6}{'req/s':>10}{'p50 ms':>10}{'p99 ms':>10}{'failed':>8}")
    for name, rows in figures.items():
        for concurrency, row in rows.items():
            print(
                f"{name:14}{concurrency:6}{row['throughput']:10.0f}{row['p50_ms']:10.2f}{row['p99_ms']:10.2f}{row['failed']:8.0f}"
            )


def measure_path(rounds: int, seconds: int) -> dict[str, object]:
    """The four ways side by side, printed as a table."""
    with tempfile.TemporaryDirectory() as temporary, targets(Path(temporary)) as urls:
        _require_the_path(urls)
        figures = measure(urls, Path(temporary), rounds, seconds)
    _print_table(figures)
    found = ratios(figures)
    for name, ratio in found.items():
        print(f"{name:32}{ratio:8.2f}")
    return {"figures": figures, "ratios": found}


def measure_analysis(rounds: int, seconds: int) -> dict[str, object]:
    """What knowing a request costs, printed as tables."""
    latencies = analysis.by_length(rounds)
    columns = [field.name.removesuffix("_ms").replace("_", " ") for field in fields(analysis.Latency)]
    print(f"{'tokens':>8}" + "".join(f"{column:>14}" for column in columns) + "  (ms)")
    for tokens, row in latencies.items():
        print(f"{tokens:>8}" + "".join(f"{value:14.3f}" for value in astuple(row)))
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        simulators = Simulators(folder, {"simulated": {"models": ["gpt-4o"]}}, record=False)
        stack.callback(simulators.stop)
        configuration = "workers: {count: 2}\n" + analysis.CONFIGURATION % simulators.ports["simulated"]
        instance = _instance(stack, folder / "tiers", configuration)
        beside = analysis.named_and_auto(instance, folder, rounds, seconds)
        workers = [analysis.memory(pid) for pid in instance.pids("worker")]
    print("one client, short prompts: " + ", ".join(f"{name} {value:.2f}" for name, value in beside.items()))
    for worker in workers:
        print("worker: " + ", ".join(f"{name} {value:.1f}" for name, value in asdict(worker).items()))
    return {
        "analysis": {tokens: asdict(row) for tokens, row in latencies.items()},
        "named_and_auto": beside,
        "worker_memory": [asdict(worker) for worker in workers],
    }


def measure_limits(rounds: int, seconds: int) -> dict[str, object]:
    """What keys, budgets and limits cost on either store, printed as tables."""
    with tempfile.TemporaryDirectory() as temporary:
        found = limits.measure(Path(temporary), rounds, seconds)
    _print_table(found["limits"])
    for name, ratio in found["limits_ratios"].items():
        print(f"{name:32}{ratio:8.2f}")
    return dict(found)


PARTS = {"path": measure_path, "analysis": measure_analysis, "limits": measure_limits}


def main() -> None:
    """Measures, prints tables and writes ``build/bench.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4, help="of one round")
    parser.add_argument("--only", choices=PARTS, help="one part; what the file holds of the other stays")
    options = parser.parse_args()
    file = Path("build/bench.json")
    file.parent.mkdir(exist_ok=True)
    result = json.loads(file.read_bytes()) if options.only and file.exists() else {}
    for name, part in PARTS.items():
        if options.only in (None, name):
            result |= part(options.rounds, options.seconds)
    file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"written to {file}")


if __name__ == "__main__":
    main()
